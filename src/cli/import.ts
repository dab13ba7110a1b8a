// duo import: read a published pattern (full_attention_heads.tsv and config.json) and write it as mask.json.
import { join } from 'node:path';
import type { Command } from 'commander';
import { buildMask, describeCut } from '../../export/build-mask.ts';
import type { Cut } from '../../export/cut.ts';
import { importPattern, PATTERN_CONFIG, PATTERN_FILE } from '../../export/import.ts';
import { readVersion } from '../core/package.ts';
import type { ModelShape } from '../core/shapes.ts';
import { writeMask } from '../formats/mask.ts';
import { addCutOptions, type CutFlags, readCutFlags, readWindowFlags } from './cut-flags.ts';
import { openModel } from './open.ts';
import { checkOutput, checkStdoutIsFree, nameOutput } from './outputs.ts';
import { printJson, say } from './terminal.ts';

interface ImportFlags extends CutFlags {
  readonly model: string;
  readonly out: string;
  readonly overwrite?: boolean;
  readonly json?: boolean;
}

export function defineImportCommand(command: Command): void {
  command
    .argument('<folder>', 'folder with full_attention_heads.tsv and config.json')
    .requiredOption('--model <dir>', 'folder of the model it belongs to; config.json alone is enough')
    .requiredOption('--out <file>', 'mask.json to write, - for standard output')
    .option('--overwrite', 'replace a file of another kind at --out')
    .option('--json', 'print what was decided as JSON');
  addCutOptions(
    command,
    "; without a cut the pattern's own sparsity, where it has none 0.5 with grouped queries, else 0.75",
  ).action(importMask);
}

/** Whose cut it was. */
type CutSource = 'flags' | 'pattern' | 'default';

const CUT_WORDS: Record<CutSource, string> = {
  flags: 'The cut is that of the flags.',
  pattern: "The cut is the pattern's own sparsity.",
  default:
    'The pattern names no sparsity: the cut is the default, half of the heads where query heads share KV heads, else three quarters.',
};

function chooseImportCut(
  flags: ImportFlags,
  { shape, sparsity }: { shape: ModelShape; sparsity: number | null },
): { cut: Cut; from: CutSource } {
  const isAsked = flags.streamingFraction !== undefined || flags.threshold !== undefined;
  if (!isAsked && sparsity !== null) return { cut: { streamingFraction: sparsity }, from: 'pattern' };
  return { cut: readCutFlags(flags, { model: shape, isRequired: false }), from: isAsked ? 'flags' : 'default' };
}

async function importMask(folder: string, flags: ImportFlags): Promise<void> {
  checkStdoutIsFree(flags.out, flags);
  checkOutput(flags.out, {
    kind: 'mask',
    inputs: [join(folder, PATTERN_FILE), join(folder, PATTERN_CONFIG)],
    overwrite: flags.overwrite === true,
  });
  const model = await openModel(flags.model, { weights: 'optional' });
  try {
    const { shape } = model.config;
    const pattern = importPattern({
      folder,
      model: shape,
      fingerprint: model.fingerprint,
      provenance: { tool: `duo ${readVersion()}` },
    });
    const { cut, from } = chooseImportCut(flags, { shape, sparsity: pattern.sparsity });
    const built = buildMask({ gates: pattern.gates, cut, window: readWindowFlags(flags, pattern.window) });
    writeMask(flags.out, built.file);
    const { streamingHeads, retrievalHeads, tieDecided } = built.cut;
    if (flags.json) {
      printJson({
        out: flags.out,
        cutFrom: from,
        streamingHeads,
        retrievalHeads,
        tieDecided,
        clipped: pattern.clipped,
      });
    } else {
      say(
        `${describeCut(built.cut)} ${CUT_WORDS[from]} ${pattern.clipped} values outside 0 to 1 were clipped. Written to ${nameOutput(flags.out)}.`,
      );
    }
  } finally {
    model.close();
  }
}
