// duo identify: score the heads of a model, write gates.json, mask.json, metrics.jsonl and run.json, show what the mask keeps.
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { describeCut } from '../../export/build-mask.ts';
import { describeCutWindows } from '../../export/build-windows-mask.ts';
import { drawGates, drawMask } from '../../export/picture.ts';
import { identify } from '../../identify/identify.ts';
import { findKeepTask } from '../../identify/keep-of.ts';
import { checkOptions, type FoundHeads, type IdentifyMessage, type IdentifyResult } from '../../identify/options.ts';
import { resultsOf } from '../../identify/run.ts';
import type { Config } from '../config/config.ts';
import { nameAsFlag } from '../config/flags.ts';
import { toHeadMask } from '../formats/mask.ts';
import { addConfigOptions, pickConfigFlags, readConfigFlags } from './config-flags.ts';
import { watchIdentification } from './identify-progress.ts';
import { addEngineOptions, type EngineFlags, openModel, readEngineFlags } from './open.ts';
import { addProgressOption } from './progress.ts';
import { describeLeastBudget, describePromiseSavings, formatWalkedTable } from './promise-table.ts';
import { describeSavings, formatRecallTable } from './recall-table.ts';
import { isColourful, printJson, printResult, say } from './terminal.ts';

interface IdentifyFlags extends EngineFlags {
  readonly model: string;
  readonly samples?: string;
  readonly haystack?: string;
  readonly documents?: string;
  readonly heldOutDocuments?: string;
  readonly heldOut?: string;
  readonly out?: string;
  readonly resume?: boolean;
  readonly objective?: string;
  readonly overwrite?: boolean;
  readonly join?: boolean;
  readonly json?: boolean;
}

export function defineIdentifyCommand(command: Command, signal: AbortSignal): void {
  command
    .requiredOption('--model <dir|demo>', 'Hugging Face model folder, or demo for the one that ships with duo')
    .option('--samples <file>', 'samples.jsonl to learn from instead of generated ones, - for standard input')
    .option('--haystack <path>', 'text file, folder, JSONL, JSONL.gz or JSONL.zst; default: generated prose')
    .option(
      '--documents <path>',
      'running text (as --haystack): of --objective long-range or both, and for kept gain in the closing table; a tenth is held out',
    )
    .option('--held-out-documents <path>', 'documents to hold out instead of a part of --documents')
    .option('--held-out <file>', 'samples.jsonl for the closing table instead of generated ones, - for standard input')
    .option('--out <dir>', 'run folder; default: runs/<model>-<seed>')
    .option('--resume', 'continue the run in --out from its last checkpoint')
    .option('--overwrite', 'start the run in --out anew')
    .option('--join', 'join the run in --out with other processes, on any machine that sees the folder, or start it')
    .option('--json', 'print the result as JSON');
  addProgressOption(addEngineOptions(addConfigOptions(command), DEVICES)).action(
    (flags: IdentifyFlags & Record<string, unknown>) => runIdentify(flags, signal),
  );
}

async function runIdentify(flags: IdentifyFlags & Record<string, unknown>, signal: AbortSignal): Promise<void> {
  const { samples, haystack, documents, heldOutDocuments, heldOut, resume, overwrite, join: joins } = flags;
  const engineFlags = readEngineFlags(flags);
  checkOptions({
    ...engineFlags,
    samples,
    haystack,
    objective: flags.objective,
    resume,
    overwrite,
    join: joins,
    out: flags.out ?? 'runs',
  });
  const folder = await openModel(flags.model, { signal });
  try {
    const named = { name: flags.model, shape: folder.config.shape };
    // Here a mistake is named as the flag that was written; the library names keys.
    const { config } = readConfigFlags(flags, named);
    findKeepTask(config.keepOf, `\`${nameAsFlag('keepOf')}\``);
    const { preset, overrides } = pickConfigFlags(flags, named);
    const out = resolve(flags.out ?? join('runs', `${folder.name}-${config.seed}`));
    const watch = watchIdentification();
    try {
      const result = await identify({
        ...engineFlags,
        ...{
          samples,
          haystack,
          documents,
          heldOutDocuments,
          heldOut,
          resume,
          overwrite,
          join: joins,
          preset,
          out,
          signal,
        },
        model: folder,
        config: overrides as Partial<Config>,
        refuseIdle: true,
        command: ['duo', ...process.argv.slice(2)],
        onProgress: watch.onProgress,
        onMessage: (message) => {
          watch.finish();
          sayMessage(message, out);
        },
        onWalked: (promise) => {
          watch.finish();
          if (promise.walked.length > 0) say(formatWalkedTable(promise, config.keepOf));
          const saved = promise.found && describePromiseSavings(promise.found.mask, folder.config.shape.maxPositions);
          if (saved) say(saved);
        },
        onFound: (found) => {
          watch.finish();
          if (!flags.json) printPicture(found);
          say(found.windows ? describeCutWindows(found.windows) : describeCut(found.cut));
        },
      });
      watch.finish();
      printAll(result, { flags, maxPositions: folder.config.shape.maxPositions });
    } finally {
      watch.finish();
    }
  } finally {
    folder.close();
  }
}

/** A message of the library, in the words of flags where it names options. */
function sayMessage({ kind, text }: IdentifyMessage, out: string): void {
  const lines: Record<IdentifyMessage['kind'], string> = {
    note: `duo: ${text}`,
    fitted: `duo: ${text.replace(/\.$/, '')}; a flag sets any of them.`,
    start: `duo identify: ${text}`,
    estimate: text,
    noise: text,
    long: 'Warning: this takes hours here; shorter --max-tokens, fewer --steps or another --engine or --device make it less.',
    stopped: `Stopped; continue with the same command and --resume (${out}).`,
    'no-table': `duo: ${text}`,
    warning: `Warning: ${text}`,
  };
  say(lines[kind]);
}

function printPicture({ gates, mask }: FoundHeads): void {
  const colour = isColourful(process.stdout);
  printResult(`\n${drawGates(gates.gates, { colour })}\n\n${drawMask(toHeadMask(mask), { colour })}\n`);
}

function printAll(result: IdentifyResult, options: { flags: IdentifyFlags; maxPositions: number }): void {
  const { out, cut, gates, heldOut, files, least } = result;
  const { flags, maxPositions } = options;
  if (flags.json) {
    printJson({ out, ...resultsOf(result), mask: cut.mask, gates: gates.gates });
    return;
  }
  if (heldOut) printResult(`\n${formatRecallTable(heldOut, result.keptGain)}`);
  printResult(describeSavings(result.savings));
  for (const budget of least) printResult(describeLeastBudget(budget, maxPositions));
  printResult(`Written to ${out}: ${files.join(', ')}.`);
}
/** Samples are shared out over them. */
const DEVICES = 'cpu, cuda:0, or with method quadratic several of one kind, cuda:0,cuda:1';
