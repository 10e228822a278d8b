//! Every module says what it is, and none is longer than a reader's patience without saying why.

use super::File;
use crate::source;
use crate::workspace::Workspace;

const FILE_LIMIT: usize = 600;
const FUNCTION_LIMIT: usize = 100;
/// A file that begins a line with this gives its reason to be longer, or to hold a longer function.
const EXCUSE: &str = "// size: ";

pub(crate) fn check(workspace: &Workspace, files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let shown = workspace.relative(&file.path);
        if !file.text.trim_start().starts_with("//!") {
            complaints.push(format!("{shown}: does not begin with //!"));
        }
        if file.text.lines().any(|line| line.trim_start().starts_with(EXCUSE)) {
            continue;
        }
        let code = source::code(&file.text);
        let lines = source::code_lines(&code);
        if lines > FILE_LIMIT {
            complaints
                .push(format!("{shown}: {lines} lines of code, over {FILE_LIMIT} without a line `{EXCUSE}reason`"));
        }
        for function in source::functions(&code).into_iter().filter(|function| function.code_lines > FUNCTION_LIMIT) {
            let source::Function { name, line, code_lines } = function;
            complaints.push(format!("{shown}:{line}: fn {name} has {code_lines} lines, over {FUNCTION_LIMIT}"));
        }
    }
    complaints
}
