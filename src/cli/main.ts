// The `duo` command: builds the parser, loads the file of the command asked for, maps errors to exit codes, turns signals into an abort.
// Exit codes: 0 done, 1 failed, 2 wrong usage, 130 SIGINT, SIGTERM or SIGHUP.
import { Socket } from 'node:net';
import { Command, CommanderError } from 'commander';
import { readVersion } from '../core/package.ts';
import { ConfigError, DuoError } from '../errors/errors.ts';
import { ClosedStdoutError } from '../formats/output.ts';
import { listenToTemporaries, removeTemporaries } from '../formats/temporary-files.ts';
import { endWithParent } from '../native/parent-death.ts';
import { COMMANDS, findCommand } from './commands.ts';
import { describeExamples } from './examples.ts';
import { finishStdout, watchStreams, writeStdout } from './stdout.ts';
import { listenToWork } from './stopping.ts';
import { CONTROL_VARIABLE, EXIT_SIGNAL, REPORTS, STOP_SIGNALS } from './supervise.ts';
import { say } from './terminal.ts';

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

const PARSER_OUTPUT = {
  writeOut: writeStdout,
  outputError: (text: string, write: (text: string) => void) => write(text.replace(/^error: /, 'duo: ')),
};

/** The parser: every command with its description, the one that `args` name with its flags and action. */
async function makeProgram(args: readonly string[], signal: AbortSignal): Promise<Command> {
  const program = new Command('duo')
    .description(
      'Find the attention heads that need the whole context, and run the model with a KV cache that is full for those heads only.',
    )
    .version(readVersion())
    .option('--debug', 'print the stack of an error')
    .showSuggestionAfterError()
    .configureOutput(PARSER_OUTPUT)
    .exitOverride();
  const asked = findCommand(args);
  for (const entry of COMMANDS) {
    const command = program.command(entry.name).description(entry.description);
    if (entry === asked) {
      (await entry.load())(command, signal);
      command.addHelpText('after', describeExamples(entry.name));
      command.hook('preAction', refuseEmptyPaths);
    }
    command.exitOverride().showSuggestionAfterError().allowExcessArguments(false);
    command.configureOutput(PARSER_OUTPUT);
    command.option('--debug', 'print the stack of an error');
  }
  return program;
}

/** An empty path is mostly a variable of a shell that is not set; it would mean the folder that the command was called in.
 * @throws {ConfigError}. */
function refuseEmptyPaths(command: Command): void {
  for (const option of command.options) {
    const value: unknown = command.getOptionValue(option.attributeName());
    const isPath = /<(?:dir|file|folder|path|documents)\b/.test(option.flags);
    if (isPath && [value].flat().includes('')) {
      throw new ConfigError(`Expected ${option.long} to name a file or folder, got an empty text.`);
    }
  }
}

/** Parse and run one command line, then set the process's exit code. Never throws. */
export async function main(argv: readonly string[]): Promise<void> {
  const controller = new AbortController();
  const isSupervised = connectToSupervisor();
  const stop = (name: NodeJS.Signals): void => {
    if (controller.signal.aborted) {
      // Under supervision the supervisor ends a process that gets a second signal.
      if (!isSupervised) process.exit(EXIT_SIGNAL);
      return;
    }
    say(`duo: ${name} received, stopping at the next safe point (again to stop at once).`);
    controller.abort();
  };
  for (const signal of STOP_SIGNALS) process.on(signal, stop);
  process.off('exit', removeTemporaries).once('exit', removeTemporaries);
  watchStreams();
  const fail = (error: unknown): void => {
    if (error instanceof ClosedStdoutError && !controller.signal.aborted) return;
    process.exitCode = controller.signal.aborted ? EXIT_SIGNAL : exitCodeOf(error);
    if (error instanceof CommanderError) return;
    say(`duo: ${error instanceof Error ? error.message : String(error)}`);
    if (argv.includes('--debug') && error instanceof Error) say(error.stack ?? '');
    else if (!(error instanceof DuoError)) say('duo: this is a defect of duo; run again with --debug for its stack.');
  };
  try {
    const program = await makeProgram(argv.slice(2), controller.signal);
    await program.parseAsync([...argv]);
    // A signal that came when everything was done does not undo the result, but its sender expects to see 130.
    if (controller.signal.aborted) process.exitCode = EXIT_SIGNAL;
  } catch (error) {
    fail(error);
  }
  try {
    await finishStdout();
  } catch (error) {
    if (!process.exitCode) fail(error);
  }
  for (const signal of STOP_SIGNALS) process.off(signal, stop);
}

/** Report to the supervisor, if there is one, what it must remove and what is worth waiting for; end when it is killed.
 * @returns true where there is one. */
function connectToSupervisor(): boolean {
  const descriptor = process.env[CONTROL_VARIABLE];
  if (descriptor === undefined) return false;
  delete process.env[CONTROL_VARIABLE];
  endWithParent();
  const control = new Socket({ fd: Number(descriptor), readable: true, writable: true });
  const end = (): void => {
    removeTemporaries();
    process.kill(process.pid, 'SIGKILL');
  };
  control.on('error', () => {}).on('end', end);
  control.resume();
  control.unref();
  const send = (line: string): void => {
    control.write(`${line}\n`);
  };
  listenToTemporaries(({ path, isMade }) => send(`${isMade ? REPORTS.made : REPORTS.gone}${JSON.stringify(path)}`));
  listenToWork((isRunning) => send(isRunning ? REPORTS.keeping : REPORTS.idle));
  return true;
}

function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
  if (error instanceof DuoError) return error.exitCode;
  return EXIT_FAILED;
}
