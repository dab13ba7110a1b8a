// duo export: cut gates.json into a mask, as JSON or as the reference's TSV and config.json.
import { join } from 'node:path';
import type { Command } from 'commander';
import { buildMask, describeCut, type LambdaCut } from '../../export/build-mask.ts';
import { PATTERN_CONFIG, PATTERN_FILE } from '../../export/import.ts';
import { writeReferenceConfig } from '../../export/reference-config.ts';
import { writeTsv } from '../../export/tsv.ts';
import { ConfigError } from '../errors/errors.ts';
import { makeFolder } from '../formats/atomic-file.ts';
import { findWindow, readGates } from '../formats/gates.ts';
import { writeMask } from '../formats/mask.ts';
import { addCutOptions, type CutFlags, readCutFlags, readWindowFlags } from './cut-flags.ts';
import { checkOutput, checkOutputFolder, checkStdoutIsFree, nameOutput } from './outputs.ts';
import { printJson, say } from './terminal.ts';

interface ExportFlags extends CutFlags {
  readonly gates: string;
  readonly format: string;
  readonly out: string;
  readonly lambda?: string;
  readonly overwrite?: boolean;
  readonly json?: boolean;
}

export function addExportCommand(program: Command): void {
  const command = program
    .command('export')
    .description('cut gates.json into a head mask')
    .requiredOption('--gates <file>', 'gates.json of a run')
    .option('--format <name>', 'json: mask.json; tsv: a folder with full_attention_heads.tsv and config.json', 'json')
    .requiredOption('--out <path>', 'file (json; - for standard output) or folder (tsv) to write')
    .option('--lambda <x>', 'cut where the gates of this λ do; needs gates with a λ path, as --method quadratic makes')
    .option('--overwrite', 'replace a file of another kind at --out')
    .option('--json', 'print what was decided as JSON');
  addCutOptions(command).action(exportMask);
}

function exportMask(flags: ExportFlags): void {
  if (flags.format !== 'json' && flags.format !== 'tsv') {
    throw new ConfigError(`Expected --format to be json or tsv, got \`${flags.format}\`.`);
  }
  checkOutputs(flags);
  const gates = readGates(flags.gates);
  const cut =
    flags.lambda === undefined ? readCutFlags(flags, { model: gates.model, isRequired: true }) : readLambda(flags);
  const built = buildMask({ gates, cut, window: readWindowFlags(flags, findWindow(gates)) });
  if (flags.format === 'json') writeMask(flags.out, built.file);
  else {
    makeFolder(flags.out);
    writeTsv(join(flags.out, PATTERN_FILE), built.file.gates);
    writeReferenceConfig(join(flags.out, PATTERN_CONFIG), built.file);
  }
  const { streamingHeads, retrievalHeads, tieDecided } = built.cut;
  if (flags.json) printJson({ out: flags.out, streamingHeads, retrievalHeads, tieDecided });
  else say(`${describeCut(built.cut)} Written to ${nameOutput(flags.out)}.`);
}

/** @throws {ConfigError} an output that would destroy something. */
function checkOutputs({ gates, format, out, overwrite = false, json }: ExportFlags): void {
  const options = { inputs: [gates], overwrite };
  if (format === 'json') {
    checkStdoutIsFree(out, { json: json === true });
    checkOutput(out, { ...options, kind: 'mask' });
  } else {
    checkOutputFolder(out);
    checkOutput(join(out, PATTERN_FILE), { ...options, kind: 'pattern' });
    checkOutput(join(out, PATTERN_CONFIG), { ...options, kind: 'pattern-config' });
  }
}

/** @throws {ConfigError} a second cut beside --lambda, or a value that is not a number above 0. */
function readLambda(flags: ExportFlags): LambdaCut {
  if (flags.streamingFraction !== undefined || flags.threshold !== undefined) {
    throw new ConfigError('Expected one cut of --lambda, --streaming-fraction and --threshold, got more.');
  }
  const lambda = Number(flags.lambda);
  if (!(Number.isFinite(lambda) && lambda > 0)) {
    throw new ConfigError(`Expected --lambda to be a number above 0, got \`${flags.lambda}\`.`);
  }
  return { lambda };
}
