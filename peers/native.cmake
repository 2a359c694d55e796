# ggml as its own build makes it: for the CPU of this machine.
#
# The crate that builds ggml turns GGML_NATIVE off unless Rust code is compiled with `-C target-cpu=native`. Here Rust
# code is not (kernels are chosen when the program runs), and ggml is to be at its best all the same.
if(NOT CMAKE_CROSSCOMPILING)
  set(GGML_NATIVE ON CACHE BOOL "optimize for the CPU of this machine" FORCE)
endif()
