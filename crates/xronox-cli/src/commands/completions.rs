//! `xronox completions`

use clap::CommandFactory;

use crate::{
    args::{Args, Completions},
    context::Context,
    exit::{Exit, Failure},
};

pub(super) fn run(args: &Completions, cx: &mut Context) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "xronox", &mut script);
    cx.out.raw(&script)?;
    Ok(Exit::Done)
}
