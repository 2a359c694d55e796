"""Writes tests/golden/ggml-blocks.json: blocks of every quantized encoding and their values, by PyPI `gguf`."""
import importlib.metadata, json, sys
import numpy as np
from gguf import quants
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as T

# Where the f16 scales of a block lie.
SCALES = {T.Q8_0: [0], T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2],
          T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208]}
rng = np.random.default_rng(7)
out = {}
for kind, places in SCALES.items():
    values, size = GGML_QUANT_SIZES[kind]
    blocks = [rng.integers(0, 256, size, dtype=np.uint8) for _ in range(2)]
    blocks += [np.zeros(size, np.uint8), np.full(size, 255, np.uint8)]
    # Random scales of both signs; where all else is ones, round ones: the values stay short.
    for block, all_ones in zip(blocks, [False] * (len(blocks) - 2) + [None, True]):
        for place, one in zip(places, (-0.5, 3.0)):
            if all_ones is not None:
                scale = one if all_ones else rng.uniform(0.25, 4.0) * rng.choice([-1, 1])
                block[place:place + 2] = np.frombuffer(np.float16(scale).tobytes(), np.uint8)
    blocks = np.concatenate(blocks)
    decoded = quants.dequantize(blocks, kind)
    assert decoded.dtype == np.float32 and np.isfinite(decoded).all()
    # The shortest digits of an f32 must also name it when they are read as f64 and rounded.
    digits = [np.format_float_positional(v, trim="0") for v in decoded]
    again = np.array([float(d) for d in digits]).astype(np.float32)
    assert (again.view(np.uint32) == decoded.view(np.uint32)).all()
    out[kind.name] = (blocks.tobytes().hex(), digits)

source = (f"Values by gguf.quants.dequantize of PyPI gguf {importlib.metadata.version('gguf')} with numpy "
          f"{np.__version__}; bytes are random (numpy default_rng(7)), all 0x00 and all 0xff, but for the f16 scales "
          "of random and 0xff blocks, which are finite")
entries = [f'  {json.dumps(name)}: {{\n   "bytes": "{hexa}",\n   "values": [{",".join(digits)}]\n  }}'
           for name, (hexa, digits) in out.items()]
open(sys.argv[1], "w").write(f'{{\n "source": {json.dumps(source)},\n "encodings": {{\n' + ",\n".join(entries) + "\n }\n}\n")
