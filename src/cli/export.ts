// duo export: cut gates.json into a mask, by heads or by memory, as JSON or as the reference's TSV and config.json.
import { join } from 'node:path';
import type { Command } from 'commander';
import { buildMask, describeCut, type LambdaCut } from '../../export/build-mask.ts';
import { buildWindowsMask, describeCutWindows } from '../../export/build-windows-mask.ts';
import type { ShareCut } from '../../export/cut-windows.ts';
import { PATTERN_CONFIG, PATTERN_FILE } from '../../export/import.ts';
import { countNoiseDecisions, describeNoiseDecisions } from '../../export/noise-decisions.ts';
import { writeReferenceConfig } from '../../export/reference-config.ts';
import { writeTsv } from '../../export/tsv.ts';
import { ConfigError } from '../errors/errors.ts';
import { makeFolder } from '../formats/atomic-file.ts';
import { findWindow, type GatesFile, readGates } from '../formats/gates.ts';
import { type BinaryMaskFile, MASK_VERSION, type MaskFile, scoresOfMask, writeMask } from '../formats/mask.ts';
import { readNoise } from '../formats/noise.ts';
import { findRunFile } from '../formats/run-file.ts';
import {
  addCutOptions,
  addShareOptions,
  type CutFlags,
  readCutFlags,
  readShareFlags,
  readWindowFlags,
  type ShareFlags,
} from './cut-flags.ts';
import { cutByCurve, describeKeptCut, type KeepFlags, readKeepFlags } from './export-keep.ts';
import { checkOutput, checkOutputFolder, checkStdoutIsFree, nameOutput } from './outputs.ts';
import { printJson, say } from './terminal.ts';

interface ExportFlags extends CutFlags, ShareFlags, KeepFlags {
  readonly gates: string;
  readonly format: string;
  readonly out: string;
  readonly lambda?: string;
  readonly overwrite?: boolean;
  readonly json?: boolean;
}

export function defineExportCommand(command: Command): void {
  command
    .requiredOption('--gates <file>', 'gates.json of a run, or its folder')
    .option('--format <name>', 'json: mask.json; tsv: a folder with full_attention_heads.tsv and config.json', 'json')
    .requiredOption('--out <path>', 'file (json; - for standard output) or folder (tsv) to write')
    .option('--lambda <x>', 'cut at the gates of this λ; needs gates with a λ path, as --method quadratic makes')
    .option(
      '--keep <f>',
      'keep this share of full attention, by what the run of --gates measured of its masks (identify --keep)',
    )
    .option('--keep-of <what>', 'recall, gain or the task that it was measured by; default: whatever it was')
    .option('--overwrite', 'replace a file of another kind at --out')
    .option('--json', 'print what was decided as JSON');
  addShareOptions(addCutOptions(command)).action(exportMask);
}

function exportMask(given: ExportFlags): void {
  const flags = { ...given, gates: findRunFile(given.gates, 'gates.json') };
  if (flags.format !== 'json' && flags.format !== 'tsv') {
    throw new ConfigError(`Expected --format to be json or tsv, got \`${flags.format}\`.`);
  }
  checkOutputs(flags);
  const share = readShareFlags(flags);
  if (share && flags.lambda !== undefined) throw new ConfigError('Expected one cut, got both --kv-share and --lambda.');
  const promise = readKeepFlags(flags);
  if (promise) refuseOtherCuts(flags);
  const gates = readGates(flags.gates);
  if (promise) exportKept(flags, { gates, ...promise });
  else if (share) exportWindows(flags, { gates, share });
  else exportLabels(flags, gates);
}

/** Cut into heads that keep the whole context and heads of one window. */
function exportLabels(flags: ExportFlags, gates: GatesFile): void {
  const cut =
    flags.lambda === undefined ? readCutFlags(flags, { model: gates.model, isRequired: true }) : readLambda(flags);
  const built = buildMask({ gates, cut, window: readWindowFlags(flags, findWindow(gates)) });
  writeFiles(flags, built.file);
  const { streamingHeads, retrievalHeads, tieDecided, mask } = built.cut;
  if (flags.json) printJson({ out: flags.out, streamingHeads, retrievalHeads, tieDecided });
  else say(`${describeCut(built.cut)} Written to ${nameOutput(flags.out)}.`);
  const noise = readNoise(gates.provenance, flags.gates);
  const decisions = noise && countNoiseDecisions(mask, noise);
  const noiseText = decisions && describeNoiseDecisions(noise, decisions);
  if (noiseText) say(`${decisions.isLarge ? 'Warning: ' : ''}${noiseText}.`);
}

/** Cut by memory. */
function exportWindows(flags: ExportFlags, { gates, share }: { gates: GatesFile; share: ShareCut }): void {
  const { file, cut } = buildWindowsMask({ gates, cut: share });
  // a pattern's readers cut its values themselves: labels as values are cut to the same labels
  writeFiles(flags, file.version === MASK_VERSION && flags.format === 'tsv' ? makePattern(file) : file);
  const { atTokens, keptShare, predictedLoss, lossBound, tieDecided } = cut;
  if (flags.json) {
    const { kvShare } = share;
    printJson({ out: flags.out, kvShare, atTokens, keptShare, predictedLoss, lossBound, tieDecided });
    return;
  }
  const measured = gates.ladder?.tokens ?? atTokens;
  const rule = gates.ladder?.rule;
  const scaled =
    rule && rule.namedAt !== atTokens
      ? ` Windows are those named at ${rule.namedAt} tokens in proportion to the length.`
      : '';
  const beyond = atTokens > measured ? ` The effects were measured on samples of up to ${measured} tokens.` : '';
  say(`${describeCutWindows(cut)}${scaled}${beyond} Written to ${nameOutput(flags.out)}.`);
}

/** Cut by what a run measured. */
function exportKept(
  flags: ExportFlags,
  { gates, keep, keepOf }: { gates: GatesFile; keep: number; keepOf: string | null },
): void {
  const window = readWindowFlags(flags, findWindow(gates));
  const cut = cutByCurve(gates, { gatesPath: flags.gates, keep, keepOf, window });
  const { file, point, curve, below, skipped } = cut;
  writeFiles(flags, file.version === MASK_VERSION && flags.format === 'tsv' ? makePattern(file) : file);
  if (flags.json) {
    const { kvShare, kept, interval } = point;
    const { atTokens, samples } = curve;
    printJson({
      out: flags.out,
      keep,
      keepOf: curve.keepOf,
      kvShare,
      atTokens,
      kept,
      interval,
      samples,
      below,
      skipped,
    });
    return;
  }
  say(`${describeKeptCut(cut, keep)} Written to ${nameOutput(flags.out)}.`);
}

/** @throws {ConfigError} a second cut together with --keep. */
function refuseOtherCuts(flags: ExportFlags): void {
  const { kvShare, streamingFraction, threshold, lambda, at } = flags;
  const others = { 'kv-share': kvShare, 'streaming-fraction': streamingFraction, threshold, lambda, at };
  const second = Object.entries(others).find(([, text]) => text !== undefined)?.[0];
  if (second !== undefined) throw new ConfigError(`Expected one cut, got both --keep and --${second}.`);
}

function makePattern(file: BinaryMaskFile): BinaryMaskFile {
  const labels = file.mask.flat();
  const streaming = labels.filter((label) => label === 0).length;
  return { ...file, gates: file.mask, streamingFraction: streaming / labels.length };
}

/** @throws {ConfigError} a pattern folder for a mask of several windows. */
function writeFiles({ format, out }: ExportFlags, file: MaskFile): void {
  if (format === 'json') {
    writeMask(out, file);
    return;
  }
  if (file.version !== MASK_VERSION) {
    throw new ConfigError(
      'Expected a mask of one window for --format tsv, which has no place for more, got windows of several sizes; write json, or cut by --streaming-fraction.',
    );
  }
  makeFolder(out);
  writeTsv(join(out, PATTERN_FILE), scoresOfMask(file));
  writeReferenceConfig(join(out, PATTERN_CONFIG), file);
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

/** @throws {ConfigError} a second cut together with --lambda, or a value that is not a number above 0. */
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
