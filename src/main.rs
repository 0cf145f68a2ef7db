//! The binary: read the settings, do what is asked for, say how it went.

use std::{
    env,
    io::{self, Write as _},
    process::ExitCode,
};

use bienvenue::{
    app::{Server, ServerError},
    cli::{self, Command, CostTable, ImportView},
    clock::Clock,
    config::Config,
    import::{self, Order},
    lifecycle::Signals,
    log,
    passwords::Calibration,
};
use tokio::runtime;

fn main() -> ExitCode {
    match cli::parse(env::args_os()) {
        Ok(Command::Serve(config)) => serve(&config),
        Ok(Command::Import(order, warnings)) => {
            for warning in warnings {
                complain(&format!("warning: {warning}"));
            }
            import(&order)
        }
        Ok(Command::Calibrate(threads)) => calibrate(threads),
        Ok(Command::Print(text)) => {
            say(&text);
            ExitCode::SUCCESS
        }
        Err(line) => {
            complain(&line);
            ExitCode::from(cli::EXIT_USAGE)
        }
    }
}

fn serve(config: &Config) -> ExitCode {
    // Until the end, for what is logged last.
    let _flushed = log::start(&config.log);
    let runtime = runtime::Builder::new_multi_thread()
        .enable_all()
        // Turns last long: see who else has something to say between them.
        .event_interval(2)
        .max_blocking_threads(config.blocking_threads())
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("cannot start its threads: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(config));
    // Do not wait for hashes whose callers are gone.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

async fn run(config: &Config) -> Result<(), ServerError> {
    let mut signals = Signals::listen().map_err(ServerError::Io)?;
    let server = tokio::select! {
        opened = Server::open(config, Clock::system()) => opened?,
        // A migration that waits for another node is given up.
        () = signals.next() => return Ok(()),
    };
    say(&cli::greeting(
        config,
        server.address(),
        server.admin_address(),
    ));
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let delay = config.network.shutdown_delay;
    server.run(signals.phases(delay, cli::EXIT_AT_ONCE)).await;
    Ok(())
}

fn import(order: &Order) -> ExitCode {
    let mut view = ImportView::new();
    let outcome = import::run(order, &Clock::system(), &mut view);
    drop(view);
    match outcome {
        Ok(summary) => {
            say(&summary.to_string());
            if summary.is_clean() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn calibrate(threads: usize) -> ExitCode {
    let runtime = runtime::Builder::new_current_thread().enable_time().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(Calibration::measure(threads)) {
        Ok(measured) => {
            say(&CostTable(measured).to_string());
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Prints, to whoever still reads.
fn say(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// The one line on why it ended.
fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "bienvenue: {line}");
}
