// The `duo` command: builds the parser from one file a command, maps errors to exit codes, turns signals into an abort.
// Exit codes: 0 done, 1 failed, 2 wrong usage, 130 SIGINT or SIGTERM.
import { Command, CommanderError } from 'commander';
import { DuoError } from '../errors/errors.ts';
import { addBenchCommand } from './bench.ts';
import { addBuildCommand } from './build.ts';
import { addDoctorCommand } from './doctor.ts';
import { addEvalCommand } from './eval.ts';
import { addExportCommand } from './export.ts';
import { addGenerateCommand } from './generate.ts';
import { addIdentifyCommand } from './identify.ts';
import { addImportCommand } from './import.ts';
import { addInspectCommand } from './inspect.ts';
import { addReportCommand } from './report.ts';
import { addRunCommand } from './run.ts';
import { say } from './terminal.ts';
import { readVersion } from './version.ts';

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;
const EXIT_SIGNAL = 130;

function makeProgram(signal: AbortSignal): Command {
  const program = new Command('duo')
    .description(
      'Find the attention heads that need the whole context, and run the model with a KV cache that is full for those heads only.',
    )
    .version(readVersion())
    .option('--debug', 'print the stack of an error')
    .showSuggestionAfterError()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'duo: ')) })
    .exitOverride();
  for (const add of [
    addIdentifyCommand,
    addGenerateCommand,
    addExportCommand,
    addImportCommand,
    addRunCommand,
    addEvalCommand,
    addBenchCommand,
    addReportCommand,
    addInspectCommand,
    addDoctorCommand,
    addBuildCommand,
  ]) {
    add(program, signal);
  }
  for (const command of program.commands) {
    command.exitOverride().showSuggestionAfterError().allowExcessArguments(false);
    command.configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'duo: ')) });
    command.option('--debug', 'print the stack of an error');
  }
  return program;
}

/** Parse and run one command line, then set the process's exit code. Never throws. */
export async function main(argv: readonly string[]): Promise<void> {
  const controller = new AbortController();
  const stop = (name: NodeJS.Signals): void => {
    if (controller.signal.aborted) process.exit(EXIT_SIGNAL);
    say(`duo: ${name} received, stopping at the next safe point (again to stop at once).`);
    controller.abort();
  };
  process.on('SIGINT', stop).on('SIGTERM', stop);
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(EXIT_FAILED);
  });
  const program = makeProgram(controller.signal);
  try {
    await program.parseAsync([...argv]);
    if (controller.signal.aborted) process.exitCode = EXIT_SIGNAL;
  } catch (error) {
    process.exitCode = controller.signal.aborted ? EXIT_SIGNAL : exitCodeOf(error);
    if (!(error instanceof CommanderError)) {
      say(`duo: ${error instanceof Error ? error.message : String(error)}`);
      if (argv.includes('--debug') && error instanceof Error) say(error.stack ?? '');
      else if (!(error instanceof DuoError)) say('duo: this is a defect of duo; run again with --debug for its stack.');
    }
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop);
  }
}

function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
  if (error instanceof DuoError) return error.exitCode;
  return EXIT_FAILED;
}
