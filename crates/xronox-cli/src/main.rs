//! The `xronox` command, a thin shell over the library.

mod args;
mod commands;
mod context;
mod exit;
mod interrupt;
mod json_input;
mod output;
mod place;
mod progress;

use std::{io, process::ExitCode};

use clap::Parser;

use crate::{
    args::Args,
    context::Context,
    exit::{Exit, Failure},
    interrupt::Interrupt,
};

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return misused(&error).into(),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            Failure::from(error).print(&mut io::stderr(), args.globals.json);
            return Exit::Failed.into();
        }
    };
    let exit = runtime.block_on(run(args));
    // Nothing that still runs has anything left to write.
    runtime.shutdown_background();
    exit.into()
}

async fn run(args: Args) -> Exit {
    let json = args.globals.json;
    let configured = args.command.is_configured();
    let mut cx = match Context::new(args.globals, configured, Interrupt::listen()) {
        Ok(cx) => cx,
        Err(failure) => {
            failure.print(&mut io::stderr(), json);
            return failure.exit;
        }
    };
    let mut result = commands::run(args.command, &mut cx).await;
    // What was printed reaches its reader whatever happened after it.
    let flushed = cx.out.flush().map_err(Failure::from);
    let closed = cx.close().await;
    for later in [flushed, closed] {
        if let (Ok(_), Err(failure)) = (&result, later) {
            result = Err(failure);
        }
    }
    match result {
        Ok(exit) => exit,
        Err(failure) => {
            failure.print(&mut io::stderr(), json);
            failure.exit
        }
    }
}

/// Help, version, or what is wrong with the command line.
fn misused(error: &clap::Error) -> Exit {
    // Without parsed arguments only their text tells how errors are wanted.
    let json = std::env::args_os()
        .take_while(|arg| arg != "--")
        .any(|arg| arg == "--json");
    if error.use_stderr() && json {
        let text = error.render().to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        Failure::usage(text.trim_end()).print(&mut io::stderr(), true);
    } else {
        // Nobody there to read the help needs none.
        let _ = error.print();
    }
    if error.use_stderr() {
        Exit::Usage
    } else {
        Exit::Done
    }
}
