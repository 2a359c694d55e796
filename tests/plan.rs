//! From experiment files to plans: which arms each kind of design compares.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use septet::arm::Arm;
use septet::model::shape::PRESETS;
use septet::plan::expand::{Options, expand};
use septet::plan::{Cell, Contrast, Design, Plan};
use septet::spec::Spec;
use septet_kernels::Isa;

const HEAD: &str = r#"
schema = 1
name = "plan"
question = "?"
hypothesis = "?"
refuted_by = "?"
protocol = { blocks = 10, quick_blocks = 2, seed = 1, margin = 0.01, confidence = 0.95 }

[[workload]]
name = "tiny"
title = "?"
model = "builtin"
prompt = "?"
threads = 1
repetitions = 1
tokens = 1

[arm.base]
[arm.full]
unpack = "lut"
unroll = "u4"
prefetch = "software"
"#;

fn plan_of(path: &Path, text: &str, quick: bool, keep: &dyn Fn(&Arm) -> bool) -> Plan {
    let spec = Spec::parse(path, text.to_owned()).expect("a spec");
    let presets: Vec<(&str, usize)> = PRESETS.iter().map(|preset| (preset.name, preset.weights())).collect();
    let options = Options { quick, keep, cores: 2, copies: &|_, _| 4, presets: &presets };
    expand(&spec, &options).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The plan of one design on the head.
fn plan(design: &str) -> Plan {
    let text = format!("{HEAD}\n[[design]]\nname = \"d\"\ntitle = \"?\"\n{design}");
    plan_of(Path::new("spec.toml"), &text, false, &|_| true)
}

fn cell<'a>(plan: &'a Plan, id: &str) -> &'a Cell {
    plan.cells.iter().find(|cell| cell.id == id).expect("a planned cell")
}

/// Step, arm and reference of each contrast, as `unpack/unroll/prefetch`.
fn compared<'a>(plan: &Plan, contrasts: impl IntoIterator<Item = &'a Contrast>) -> Vec<[String; 3]> {
    let arm = |id: &str| ["unpack", "unroll", "prefetch"].map(|axis| cell(plan, id).factors[axis].clone()).join("/");
    contrasts.into_iter().map(|c| [c.step.clone(), arm(&c.arm), arm(&c.reference)]).collect()
}

/// A workload on each number of threads has a name and a title for each, and designs name all of them at once.
#[test]
fn threads_each_is_a_workload_for_each_number() {
    let text = format!(
        "{}\n[[design]]\nname = \"d\"\ntitle = \"?\"\nkind = \"null\"\nfrom = \"base\"\nworkloads = [\"tiny\"]",
        HEAD.replace("threads = 1", "threads = \"each\"")
    );
    let plan = plan_of(Path::new("spec.toml"), &text, false, &|_| true);
    let named: Vec<_> = plan.workloads.iter().map(|w| (w.name.as_str(), w.title.as_str(), w.threads)).collect();
    assert_eq!(named, [("tiny-1t", "?, 1 thread", 1), ("tiny-2t", "?, 2 threads", 2)]);
    let workloads: Vec<&str> = plan.designs[0].contrasts.iter().map(|c| c.workload.as_str()).collect();
    assert_eq!(workloads, ["tiny-1t", "tiny-2t"]);
}

const STEPS: &str = r#"
[[design.step]]
set = { unpack = "lut" }
[[design.step]]
set = { unroll = "u4" }
label = "unroll"
published = 1.2
[[design.step]]
set = { unpack = "bit_parallel" }
context = { prefetch = "software" }
"#;

#[test]
fn a_ladder_compares_each_step_with_the_one_before() {
    let plan = plan(&format!("kind = \"cumulative\"\nfrom = \"base\"\ncombination = {{}}\n{STEPS}"));
    let design = &plan.designs[0];
    assert_eq!(
        compared(&plan, &design.contrasts),
        [
            ["unpack=lut", "lut/u1/none", "branch/u1/none"],
            ["unroll", "lut/u4/none", "lut/u1/none"],
            ["unpack=bit_parallel", "bit_parallel/u4/none", "lut/u4/none"],
        ]
    );
    assert_eq!(design.contrasts[1].published, Some(1.2));
    // Alone: on the first arm, with the step's own reference level; the third in its context.
    let combination = &design.combinations[0];
    assert_eq!(
        compared(&plan, &combination.singles),
        [
            ["unpack=lut alone", "lut/u1/none", "branch/u1/none"],
            ["unroll alone", "branch/u4/none", "branch/u1/none"],
            ["unpack=bit_parallel alone", "bit_parallel/u1/software", "lut/u1/software"],
        ]
    );
    assert_eq!(compared(&plan, [&combination.measured]), [["combination", "bit_parallel/u4/none", "branch/u1/none"]]);
    // `lut` on the first arm serves the ladder and the single.
    assert_eq!(plan.cells.len(), 7);
}

#[test]
fn one_factor_designs_compare_with_one_arm() {
    let steps = "[[design.step]]\nset = { unpack = \"select\" }\n[[design.step]]\nset = { unroll = \"u4\" }";
    let added = plan(&format!("kind = \"add-one-in\"\nfrom = \"base\"\n{steps}"));
    assert_eq!(
        compared(&added, &added.designs[0].contrasts),
        [["unpack=select", "select/u1/none", "branch/u1/none"], ["unroll=u4", "branch/u4/none", "branch/u1/none"]]
    );
    let steps = "[[design.step]]\nset = { unpack = \"branch\" }\n[[design.step]]\nset = { unroll = \"u1\" }";
    let taken = plan(&format!("kind = \"leave-one-out\"\nfrom = \"full\"\n{steps}"));
    assert_eq!(
        compared(&taken, &taken.designs[0].contrasts),
        [
            ["unpack=branch", "lut/u4/software", "branch/u4/software"],
            ["unroll=u1", "lut/u4/software", "lut/u1/software"],
        ]
    );
}

const FACTORS: &str = r#"
kind = "factorial"
from = "base"
combination = { published = 2.0 }
[[design.step]]
label = "LUT"
set = { unpack = "lut" }
published = 1.4
[[design.step]]
label = "unroll"
set = { unroll = "u4" }
[[design.step]]
label = "prefetch"
set = { prefetch = "software" }
"#;

#[test]
fn a_factorial_design_has_every_combination_once() {
    let one = plan(FACTORS);
    let design = &one.designs[0];
    let [factorial] = &design.factorials[..] else { panic!("{:?}", design.factorials) };
    let arms: Vec<&str> = factorial.cells.iter().map(|id| cell(&one, id).arm.as_str()).collect();
    assert_eq!(arms.iter().collect::<BTreeSet<_>>().len(), 8, "{arms:?}");
    for (set, id) in factorial.cells.iter().enumerate() {
        let factors = &cell(&one, id).factors;
        for (at, (axis, levels)) in
            [("unpack", ["branch", "lut"]), ("unroll", ["u1", "u4"]), ("prefetch", ["none", "software"])]
                .into_iter()
                .enumerate()
        {
            assert_eq!(factors[axis], levels[set >> at & 1], "{axis} of cell {set}");
        }
    }
    assert_eq!(factorial.label(0b101, " + "), "LUT + prefetch");
    assert_eq!([1, 2, 3].map(|set| factorial.published(set)), [Some(1.4), None, None]);
    // All on against all off; the singles of the combination are cells of the design.
    assert_eq!(compared(&one, &design.contrasts), [["all on", "lut/u4/software", "branch/u1/none"]]);
    let [combination] = &design.combinations[..] else { panic!("{:?}", design.combinations) };
    let singles: Vec<&str> = combination.singles.iter().map(|single| single.arm.as_str()).collect();
    assert_eq!(singles, [&factorial.cells[1], &factorial.cells[2], &factorial.cells[4]]);
    assert_eq!(combination.measured.published, Some(2.0));
    assert_eq!(one.cells.len(), 8);

    // Cells are shared with other designs.
    let text = format!("{HEAD}\n[[design]]\nname = \"d\"\ntitle = \"?\"\n{FACTORS}");
    let more = format!("{text}\n[[design]]\nname = \"e\"\ntitle = \"?\"\nkind = \"cumulative\"\nfrom = \"base\"\n");
    let steps = "[[design.step]]\nset = { unpack = \"lut\" }\n[[design.step]]\nset = { unroll = \"u4\" }\n";
    let both = plan_of(Path::new("spec.toml"), &format!("{more}{steps}"), false, &|_| true);
    assert_eq!(both.cells, one.cells);
}

/// Effects need all cells: without one of them nothing is measured, and each has its reason.
#[test]
fn a_factorial_design_with_an_infeasible_cell_is_incomplete() {
    let vectors = FACTORS.replace("unpack = \"lut\"", "isa = \"avx2\"");
    let null = "[[design]]\nname = \"n\"\ntitle = \"?\"\nkind = \"null\"\nfrom = \"base\"";
    let text = format!("{HEAD}\n[[design]]\nname = \"d\"\ntitle = \"?\"\n{vectors}\n{null}");
    let plan = |text: &str, keep: &dyn Fn(&Arm) -> bool| plan_of(Path::new("spec.toml"), text, false, keep);
    let one = plan(&text, &|_| true);
    assert!(one.designs[0].contrasts.is_empty() && one.designs[0].combinations.is_empty());
    assert!(one.designs[0].factorials[0].cells.is_empty() && one.cells.len() == 2);
    let points: Vec<&str> = one.infeasible.iter().map(|point| point.step.as_str()).collect();
    assert_eq!(points, ["LUT", "LUT + unroll", "LUT + prefetch", "LUT + unroll + prefetch"]);
    assert!(one.infeasible.iter().all(|point| point.reason.contains("branch")), "{:?}", one.infeasible);

    let text = text.replace("isa = \"avx2\"", "unpack = \"lut\"");
    let selected = plan(&text, &|arm: &Arm| arm.factors()["unroll"] == "u1");
    assert!(selected.designs[0].factorials[0].cells.is_empty() && selected.infeasible.len() == 4);
    assert!(selected.infeasible.iter().all(|point| point.reason.contains("command line")));
}

/// What makes no factorial design is an error at its place, with what is valid.
#[test]
fn factors_are_few_distinct_and_without_context() {
    let error = |design: &str| {
        let text = format!("{HEAD}\n[[design]]\nname = \"d\"\ntitle = \"?\"\n{design}");
        let spec = Spec::parse(Path::new("spec.toml"), text).expect("a spec");
        let options = Options { quick: false, keep: &|_| true, cores: 2, copies: &|_, _| 4, presets: &[] };
        expand(&spec, &options).expect_err("no plan").to_string()
    };
    let same = FACTORS.replace("unroll = \"u4\"", "unpack = \"select\"");
    assert_eq!(error(&same), "axis `unpack` belongs to the factor `LUT` already");
    let nothing = FACTORS.replace("unroll = \"u4\"", "unroll = \"u1\"");
    assert!(error(&nothing).contains("this step changes nothing"));
    let context = FACTORS.replace("published = 1.4", "context = { unroll = \"u4\" }");
    assert!(error(&context).contains("a factor has no `context`"));
    let head = FACTORS.split("[[design.step]]").next().expect("a head");
    let alone = format!("{head}[[design.step]]\nset = {{ unpack = \"lut\" }}");
    assert_eq!(error(&alone), "a factorial design with 1 steps; valid: 2 to 5, each a factor");
}

#[test]
fn a_null_check_measures_one_arm_as_two_cells() {
    let plan = plan("kind = \"null\"\nfrom = \"base\"\n");
    let contrast = &plan.designs[0].contrasts[0];
    assert_ne!(contrast.arm, contrast.reference);
    assert_eq!(cell(&plan, &contrast.arm).arm, cell(&plan, &contrast.reference).arm);
    assert_eq!(cell(&plan, &contrast.arm).null_of.as_ref(), Some(&contrast.reference));
    assert_eq!(cell(&plan, &contrast.reference).null_of, None);
}

#[test]
fn what_cannot_be_measured_is_kept_with_its_reason() {
    let steps = "[[design.step]]\nset = { isa = \"avx2\" }\n[[design.step]]\nset = { unroll = \"u4\" }";
    let text =
        format!("{HEAD}\n[[design]]\nname = \"d\"\ntitle = \"?\"\nkind = \"add-one-in\"\nfrom = \"base\"\n{steps}");
    let plan = plan_of(Path::new("spec.toml"), &text, false, &|_| true);
    assert_eq!(plan.designs[0].contrasts.len(), 1);
    let [point] = &plan.infeasible[..] else { panic!("{:?}", plan.infeasible) };
    assert_eq!((point.step.as_str(), point.workload.as_str()), ("isa=avx2", "tiny"));
    assert!(point.reason.contains("branch"), "{}", point.reason);

    let text = text.replace("{ isa = \"avx2\" }", "{ unpack = \"lut\" }");
    let keep = |arm: &Arm| arm.factors()["unpack"] == "branch";
    let plan = plan_of(Path::new("spec.toml"), &text, false, &keep);
    assert_eq!(plan.cells.len(), 2);
    assert!(plan.infeasible[0].reason.contains("command line"));
}

#[test]
fn what_means_nothing_on_a_matrix_alone_is_infeasible() {
    let text = HEAD.replace("model = \"builtin\"\nprompt = \"?\"", "matrix = { rows = 64, cols = 64 }");
    let text = text.replace("[arm.base]", "[arm.base]\nlayout = \"rows16\"\nunpack = \"bit_parallel\"");
    let nothing = [
        "epilogue = \"fused\"",
        "activations = \"cached\"",
        "prefill = \"batch\"",
        "regions = \"joined\"",
        "kv_cache = \"int8\"",
        "kv_cache = \"none\"",
    ];
    let steps: String = nothing
        .iter()
        .chain(&["prefetch = \"software\""])
        .map(|set| format!("[[design.step]]\nset = {{ {set} }}\n"))
        .collect();
    let design = format!("name = \"d\"\ntitle = \"?\"\nkind = \"add-one-in\"\nfrom = \"base\"\n{steps}");
    let plan = plan_of(Path::new("spec.toml"), &format!("{text}\n[[design]]\n{design}"), false, &|_| true);
    assert_eq!(plan.designs[0].contrasts.len(), 1);
    let reasons: Vec<&str> = plan.infeasible.iter().map(|point| point.reason.as_str()).collect();
    assert!(
        reasons.len() == nothing.len() && reasons.iter().all(|reason| reason.contains("a matrix alone")),
        "{reasons:?}"
    );
}

/// K is compiled for all matrices of a workload or for none.
#[test]
fn compile_time_shapes_need_a_compiled_k() {
    let steps =
        "[[design.step]]\nset = { shape = \"compile_time\" }\n[[design.step]]\nset = { prefetch = \"software\" }";
    let design = format!("name = \"d\"\ntitle = \"?\"\nkind = \"add-one-in\"\nfrom = \"base\"\n{steps}");
    let plan = |workload: &str, isa: &str| {
        let arm = format!("[arm.base]\nlayout = \"rows16\"\nunpack = \"bit_parallel\"\nisa = \"{isa}\"");
        let text = HEAD.replace("model = \"builtin\"\nprompt = \"?\"", workload).replace("[arm.base]", &arm);
        plan_of(Path::new("spec.toml"), &format!("{text}\n[[design]]\n{design}"), false, &|_| true)
    };
    let reason = |plan: &Plan| plan.infeasible.first().map(|point| point.reason.clone()).unwrap_or_default();
    let square = "matrix = { rows = 64, cols = 8192 }";
    assert!(reason(&plan(square, "scalar")).contains("vector instruction sets"));
    if Isa::best() == Isa::Scalar {
        return;
    }
    for workload in [square, "matrix = { rows = 8, cols = 28672 }", "shape = \"llama70b\""] {
        let plan = plan(workload, "widest");
        assert!(plan.infeasible.is_empty(), "{workload}: {:?}", plan.infeasible);
        assert!(cell(&plan, &plan.designs[0].contrasts[0].arm).arm.ends_with("/compile_time"));
    }
    let other = "matrix = { rows = 64, cols = 8191 }";
    assert_eq!(reason(&plan(other, "widest")), "a matrix has K = 8191; shapes are compiled for K = 8192, 28672");
    assert!(reason(&plan("shape = \"llama70b-tp8\"", "widest")).contains("a matrix has K = 1024"));
    let trained = plan("model = \"builtin\"\nprompt = \"?\"", "widest");
    assert!(reason(&trained).contains("trained model"), "{:?}", trained.infeasible);
}

#[test]
fn batches_need_a_prompt_and_a_layout_with_kernels() {
    let shape = "shape = \"llama70b-tp8\"";
    let steps = "[[design.step]]\nset = { prefill = \"batch\" }\n[[design.step]]\nset = { prefetch = \"software\" }";
    let design = format!("name = \"d\"\ntitle = \"?\"\nkind = \"add-one-in\"\nfrom = \"base\"\n{steps}");
    let rows16 = "[arm.base]\nlayout = \"rows16\"\nunpack = \"bit_parallel\"";
    let plan = |workload: &str, arm: &str| {
        let text = HEAD.replace("model = \"builtin\"\nprompt = \"?\"", workload).replace("[arm.base]", arm);
        plan_of(Path::new("spec.toml"), &format!("{text}\n[[design]]\n{design}"), false, &|_| true)
    };
    let reason = |plan: &Plan| plan.infeasible.first().map(|point| point.reason.clone()).unwrap_or_default();
    assert!(reason(&plan(shape, rows16)).contains("without `prompt_tokens`"));
    let again = design.replace("prefill = \"batch\"", "kv_cache = \"none\"");
    let text = HEAD.replace("model = \"builtin\"\nprompt = \"?\"", shape).replace("[arm.base]", rows16);
    let again = plan_of(Path::new("spec.toml"), &format!("{text}\n[[design]]\n{again}"), false, &|_| true);
    assert!(reason(&again).contains("no text to read again"));
    let prompt = format!("{shape}\nprompt_tokens = 200");
    assert!(reason(&plan(&prompt, "[arm.base]")).contains("batches of a prompt need rows16"));
    let both = plan(&prompt, rows16);
    assert!(both.infeasible.is_empty() && both.workloads[0].prompt_tokens == Some(200));
    assert_eq!(both.workloads[0].metrics(), ["token_time", "kernel_time", "prefill_time"]);
    let kernels = "gemv/w3p5/rows16/bit_parallel/u1/scalar+gemm/w3p5/rows16/scalar";
    assert_eq!(cell(&both, &both.designs[0].contrasts[0].arm).kernel, kernels);
}

/// The widest instruction set differs between CPUs: a step to where the arm already is cannot be
/// measured on this one, and is no mistake.
#[test]
fn a_step_between_equal_instruction_sets_is_infeasible() {
    let text = HEAD.replace("[arm.base]", "[arm.base]\n[arm.wide]\nunpack = \"lut\"\nisa = \"widest\"");
    let step = format!("[[design.step]]\nset = {{ isa = \"{}\" }}\n", Isa::best());
    let more = "[[design.step]]\nset = { unroll = \"u4\" }";
    let design = format!("name = \"d\"\ntitle = \"?\"\nkind = \"leave-one-out\"\nfrom = \"wide\"\n{step}{more}");
    let plan = plan_of(Path::new("spec.toml"), &format!("{text}\n[[design]]\n{design}"), false, &|_| true);
    assert_eq!(plan.designs[0].contrasts.len(), 1);
    assert!(plan.infeasible[0].reason.contains("changes nothing on this CPU"), "{:?}", plan.infeasible);
}

/// A design more, or a quick run, leaves the ids of cells as they are; another workload changes them.
#[test]
fn ids_name_cells_by_what_they_are() {
    let ids = |plan: &Plan| plan.cells.iter().map(|cell| cell.id.clone()).collect::<Vec<_>>();
    let null = "kind = \"null\"\nfrom = \"base\"\n";
    let text = format!("{HEAD}\n[[design]]\nname = \"d\"\ntitle = \"?\"\n{null}");
    let more =
        format!("{text}\n[[design]]\nname = \"e\"\ntitle = \"?\"\nkind = \"add-one-in\"\nfrom = \"base\"\n{STEPS}");
    let plan = |text: &str, quick| plan_of(Path::new("spec.toml"), text, quick, &|_| true);
    let first = ids(&plan(&text, false));
    assert_eq!(first, ids(&plan(&text, true)));
    assert_eq!(first[..], ids(&plan(&more, false))[..first.len()]);
    assert!(ids(&plan(&text.replace("\"tiny\"", "\"other\""), false)).iter().all(|id| !first.contains(id)));
}

#[test]
fn the_experiments_of_the_repository_can_be_planned() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let mut planned = 0;
    for entry in fs::read_dir(folder).expect("experiments") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("text");
        for quick in [false, true] {
            let all = plan_of(&path, &text, quick, &|_| true);
            // A factorial design with vectors is incomplete where there are none.
            let mut empty = all.designs.iter().filter(|design| design.contrasts.is_empty());
            let without_vectors = |design: &Design| !design.factorials.is_empty() && Isa::best() == Isa::Scalar;
            assert!(empty.all(without_vectors), "{}", path.display());
            // As on a CPU without vectors: what remains can still be measured.
            let scalar = plan_of(&path, &text, quick, &|arm| arm.factors()["isa"] == "scalar");
            assert!(!scalar.cells.is_empty() && scalar.cells.iter().all(|cell| cell.factors["isa"] == "scalar"));
        }
        planned += 1;
    }
    assert!(planned > 0);
}
