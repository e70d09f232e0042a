//! Imports: Kubernetes' own answers, and what Septum makes of the same objects. Each test prints what it counted.

#[path = "import/classbench.rs"]
mod classbench;
#[path = "import/command.rs"]
mod command;
#[path = "import/conformance.rs"]
mod conformance;
#[path = "support/fabric.rs"]
mod fabric;
#[path = "import/frames.rs"]
mod frames;
#[path = "import/hostile.rs"]
mod hostile;
#[path = "import/own_cases.rs"]
mod own_cases;
#[path = "import/recipes.rs"]
mod recipes;
#[path = "import/support.rs"]
mod support;
#[path = "import/truth_tables.rs"]
mod truth_tables;
