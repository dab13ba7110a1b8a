// The commands of `duo`: name, one line of description, and the module that defines flags and action, loaded only for the command asked for.
import type { Command } from 'commander';

/** Adds a command's arguments, flags and action; `signal` stops it. */
export type DefineCommand = (command: Command, signal: AbortSignal) => void;

export interface CommandEntry {
  readonly name: string;
  readonly description: string;
  readonly load: () => Promise<DefineCommand>;
}

/** In the order of the help. */
export const COMMANDS: readonly CommandEntry[] = [
  {
    name: 'identify',
    description: 'find the retrieval heads of a model: gates.json, mask.json and a table of what the mask keeps',
    load: async () => (await import('./identify.ts')).defineIdentifyCommand,
  },
  {
    name: 'generate',
    description: 'write multi-passkey or long-range samples for a model as JSONL',
    load: async () => (await import('./generate.ts')).defineGenerateCommand,
  },
  {
    name: 'export',
    description: 'cut gates.json into a head mask',
    load: async () => (await import('./export.ts')).defineExportCommand,
  },
  {
    name: 'import',
    description: 'turn a published DuoAttention pattern into mask.json',
    load: async () => (await import('./import.ts')).defineImportCommand,
  },
  {
    name: 'run',
    description: 'continue a prompt with the KV cache of a mask',
    load: async () => (await import('./run.ts')).defineRunCommand,
  },
  {
    name: 'eval',
    description: 'measure what a mask keeps, compared with full attention and other masks',
    load: async () => (await import('./eval.ts')).defineEvalCommand,
  },
  {
    name: 'score',
    description: 'score kept predictions again, without a model',
    load: async () => (await import('./score.ts')).defineScoreCommand,
  },
  {
    name: 'bench',
    description: 'measure prefill, decode, identification steps and memory under masks and full attention',
    load: async () => (await import('./bench.ts')).defineBenchCommand,
  },
  {
    name: 'report',
    description: 'write one self-contained HTML page about a run, its figures as SVG and its tables as CSV',
    load: async () => (await import('./report.ts')).defineReportCommand,
  },
  {
    name: 'inspect',
    description: 'show a mask, gates, samples or a model folder; with a second mask, compare the two',
    load: async () => (await import('./inspect.ts')).defineInspectCommand,
  },
  {
    name: 'doctor',
    description: 'what this machine can run, and what is missing',
    load: async () => (await import('./doctor.ts')).defineDoctorCommand,
  },
  {
    name: 'build',
    description: 'compile the native library (needs a C++17 compiler, CMake 3.20 and Make or Ninja)',
    load: async () => (await import('./build.ts')).defineBuildCommand,
  },
];

/** The command that a command line names, also after `help`; null where it names none. */
export function findCommand(args: readonly string[]): CommandEntry | null {
  const [first, second] = args.filter((arg) => !arg.startsWith('-'));
  const name = first === 'help' ? second : first;
  return COMMANDS.find((entry) => entry.name === name) ?? null;
}
