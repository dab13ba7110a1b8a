// Runs the command line in a child process and stays ready to hear signals, whatever the child waits on: a pipe without a writer, a
// regular expression, a read from a slow disk. The child stops by itself where it can, after a checkpoint; where it cannot, or gets a
// second signal, it is killed and what it was writing is removed. Exit code 130 either way.
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { constants } from 'node:os';
import { basename } from 'node:path';

/** Holds the number of the descriptor on which a supervised process reports. */
export const CONTROL_VARIABLE = 'DUO_CONTROL_FD';
export const STOP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
export const EXIT_SIGNAL = 130;

/** How long to wait for a process that does not answer: every command stops within a second. */
const SILENT_MS = 500;
/** How long a process with work to save may take: the current step of a large model, a checkpoint on a slow disk. */
const KEEPING_MS = 5000;
/** `timeout` and npm send the same signal twice at once, to the process and to its group; a person is slower. */
const SAME_SIGNAL_MS = 250;

/** What a supervised process reports, one event per line: a temporary file made or removed; work worth keeping begun or ended. */
export const REPORTS = { made: '+', gone: '-', keeping: '!', idle: '.' } as const;

/** True where a command line runs under supervision: signals can be sent on, this is not the child already, and there is more to do than
 * to print a version or a help text. */
export function canSupervise(args: readonly string[]): boolean {
  return process.platform !== 'win32' && process.env[CONTROL_VARIABLE] === undefined && !isHelp(args);
}

/** `duo`, `duo --version`, `duo --help`, `duo help run`, `duo run --help`. */
function isHelp(args: readonly string[]): boolean {
  const [first, second] = args;
  if (first === undefined || first === 'help') return true;
  const asks = (arg: string | undefined): boolean => arg === '--help' || arg === '-h';
  return args.length === 1 ? asks(first) || first === '--version' || first === '-V' : args.length === 2 && asks(second);
}

/** Run `script` with `args` in a child that has this process's streams; ends this process with the child's exit code. */
export function supervise(script: string, args: readonly string[]): void {
  const kept = listDescriptors(args);
  let control = 3;
  while (kept.includes(control)) control++;
  const stdio: ('inherit' | 'ignore' | 'pipe' | number)[] = ['inherit', 'inherit', 'inherit'];
  for (let number = 3; number <= Math.max(control, ...kept); number++) {
    stdio[number] = number === control ? 'pipe' : kept.includes(number) ? number : 'ignore';
  }
  const child = spawn(process.execPath, [...process.execArgv, script, ...args], {
    stdio,
    env: { ...process.env, [CONTROL_VARIABLE]: String(control) },
  });
  const temporaries = new Set<string>();
  const stop = makeStop(child);
  readReports(child.stdio[control] as Socket, {
    onTemporary: (path, isMade) => (isMade ? temporaries.add(path) : temporaries.delete(path)),
    onWork: stop.setKeeping,
  });
  for (const signal of STOP_SIGNALS) {
    if (signal === 'SIGHUP' && isHangupIgnored()) process.on(signal, () => {});
    else process.on(signal, () => stop.hear(signal));
  }
  child.on('error', (error) => {
    console.error(`duo: Expected to start ${process.execPath}, got \`${error.message}\`.`);
    process.exitCode = 1;
  });
  child.on('close', (code, signal) => {
    for (const path of temporaries) rmSync(path, { force: true });
    process.exitCode = stop.wasAsked() && code !== 0 ? EXIT_SIGNAL : (code ?? explainDeath(signal));
  });
}

interface Stop {
  hear(signal: NodeJS.Signals): void;
  /** whether the child has work to keep, and stops by itself */
  setKeeping(isKeeping: boolean): void;
  wasAsked(): boolean;
}

function makeStop(child: ChildProcess): Stop {
  let first: { signal: NodeJS.Signals; ms: number } | null = null;
  let isKeeping = false;
  const kill = (): void => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    console.error(`duo: stopped at once by ${first?.signal}.`);
    child.kill('SIGKILL');
  };
  return {
    hear(signal) {
      const nowMs = performance.now();
      if (first === null) {
        first = { signal, ms: nowMs };
        child.kill(signal);
        setTimeout(kill, isKeeping ? KEEPING_MS : SILENT_MS).unref();
      } else if (nowMs - first.ms >= SAME_SIGNAL_MS) kill();
    },
    setKeeping: (value) => {
      isKeeping = value;
    },
    wasAsked: () => first !== null,
  };
}

function readReports(
  control: Socket,
  hears: { onTemporary(path: string, isMade: boolean): void; onWork(isKeeping: boolean): void },
): void {
  let rest = '';
  control.setEncoding('utf8');
  control.on('error', () => {});
  control.on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() as string;
    for (const line of lines) {
      if (line === REPORTS.keeping || line === REPORTS.idle) hears.onWork(line === REPORTS.keeping);
      else hears.onTemporary(JSON.parse(line.slice(1)) as string, line.startsWith(REPORTS.made));
    }
  });
}

/** Descriptors that arguments name, as a shell's <(…) and >(…) do; a child has only those that are handed to it. */
function listDescriptors(args: readonly string[]): number[] {
  return args.flatMap((arg) => {
    const [, number] = /(?:^|=)\/(?:dev|proc\/self)\/fd\/(\d{1,4})$/.exec(arg) ?? [];
    return number !== undefined && Number(number) > 2 ? [Number(number)] : [];
  });
}

/** Node gives SIGHUP its default effect back at its start, so what `nohup` asked for must be found elsewhere: in the shell's record of
 * the command that it ran, or in a parent that ignores the signal itself. */
function isHangupIgnored(): boolean {
  if (basename(process.env._ ?? '') === 'nohup') return true;
  try {
    const [, mask] = /^SigIgn:\s*([0-9a-f]+)/m.exec(readFileSync(`/proc/${process.ppid}/status`, 'utf8')) ?? [];
    return mask !== undefined && (BigInt(`0x${mask}`) & 1n) === 1n;
  } catch {
    return false;
  }
}

/** One sentence for a process that was ended by a signal that the user did not send. @returns the exit code. */
function explainDeath(signal: NodeJS.Signals | null): number {
  const causes: Partial<Record<NodeJS.Signals, string>> = {
    SIGKILL: 'mostly the system, because memory ran out',
    SIGBUS: 'mostly because a file of the model became shorter, or its disk failed, while in use',
    SIGABRT: 'mostly because JavaScript ran out of memory; NODE_OPTIONS=--max-old-space-size=<MiB> gives it more',
    SIGTRAP: 'mostly because JavaScript ran out of memory; NODE_OPTIONS=--max-old-space-size=<MiB> gives it more',
  };
  const name = signal ?? 'SIGKILL';
  console.error(
    `duo: The command was ended by ${name} (${constants.signals[name]})${causes[name] ? `, ${causes[name]}` : ''}.`,
  );
  return 1;
}
