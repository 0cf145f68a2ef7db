//! The binary: reads the settings, runs the command, and returns its exit code.

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
    import::{self, ImportOptions},
    lifecycle::Signals,
    log,
    passwords::Calibration,
};
use tokio::runtime;

fn main() -> ExitCode {
    match cli::parse(env::args_os()) {
        Ok(Command::Serve(config)) => serve(&config),
        Ok(Command::Import(options, warnings)) => {
            for warning in warnings {
                print_error(&format!("warning: {warning}"));
            }
            import(&options)
        }
        Ok(Command::Calibrate(threads)) => calibrate(threads),
        Ok(Command::Print(text)) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err(line) => {
            print_error(&line);
            ExitCode::from(cli::EXIT_USAGE)
        }
    }
}

fn serve(config: &Config) -> ExitCode {
    // Kept until the end, so that the last lines are written.
    let _log_guard = log::start(&config.log);
    let runtime = runtime::Builder::new_multi_thread()
        .enable_all()
        // Tasks poll for long: other sockets are checked after every second one.
        .event_interval(2)
        .max_blocking_threads(config.blocking_threads())
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            print_error(&format!("cannot start its threads: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(config));
    // Hashes of disconnected callers are not waited for.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

async fn run(config: &Config) -> Result<(), ServerError> {
    let mut signals = Signals::listen().map_err(ServerError::Io)?;
    let server = tokio::select! {
        opened = Server::open(config, Clock::system()) => opened?,
        // A signal cancels a migration that waits for another node.
        () = signals.next() => return Ok(()),
    };
    print(&cli::greeting(
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

fn import(options: &ImportOptions) -> ExitCode {
    let mut view = ImportView::new();
    let outcome = import::run(options, &Clock::system(), &mut view);
    drop(view);
    match outcome {
        Ok(summary) => {
            print(&summary.to_string());
            if summary.is_clean() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            print_error(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn calibrate(threads: usize) -> ExitCode {
    let runtime = runtime::Builder::new_current_thread().enable_time().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            print_error(&format!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(Calibration::measure(threads)) {
        Ok(measured) => {
            print(&CostTable(measured).to_string());
            ExitCode::SUCCESS
        }
        Err(error) => {
            print_error(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Prints to standard output, whose reader may have closed it.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// Prints a line on why the process ends.
fn print_error(line: &str) {
    let _ = writeln!(io::stderr(), "bienvenue: {line}");
}
