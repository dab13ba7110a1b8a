// duo report: turn a run folder into one HTML page, with its figures as SVG and its tables as CSV next to it.
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { countKvBytes } from '../core/kv-cost.ts';
import { makeFolder, writeFileAtomic } from '../formats/atomic-file.ts';
import { STDOUT_PATH } from '../formats/output.ts';
import { buildReport } from '../report/report.ts';
import { readRunFolder } from '../report/run-data.ts';
import { describeSummary } from '../report/summary.ts';
import { checkOutput, checkOutputFolder, checkStdoutIsFree, nameOutput } from './outputs.ts';
import { printJson, printResult, say } from './terminal.ts';

/** What a report is made from; its page replaces none of them. */
const RUN_INPUTS = [
  'run.json',
  'gates.json',
  'mask.json',
  'metrics.jsonl',
  'results.json',
  'bench.json',
  'comparison.json',
];

interface ReportFlags {
  readonly out?: string;
  readonly assets?: string;
  readonly json?: boolean;
}

export function defineReportCommand(command: Command, _signal: AbortSignal): void {
  command
    .argument(
      '<run dir>',
      'folder that identify wrote; results.json, bench.json and comparison.json in it are shown too',
    )
    .option('--out <file>', 'page to write; default: report.html in the run folder')
    .option('--assets <dir>', 'folder for SVG and CSV files; default: report-files in the run folder')
    .option('--json', 'print the summary and the written files as JSON')
    .action(report);
}

function report(folder: string, flags: ReportFlags): void {
  checkStdoutIsFree(flags.out ?? '', flags);
  const data = readRunFolder(folder);
  const built = buildReport(data, { countKvBytes });
  const page = flags.out === STDOUT_PATH ? flags.out : resolve(flags.out ?? join(data.path, 'report.html'));
  const assets = resolve(flags.assets ?? join(data.path, 'report-files'));
  checkOutputFolder(flags.assets ?? '', '--assets');
  checkOutput(page, { kind: 'page', inputs: RUN_INPUTS.map((name) => join(data.path, name)), overwrite: null });
  makeFolder(assets);
  for (const { name, text } of built.files) writeFileAtomic(join(assets, name), text);
  writeFileAtomic(page, built.html);
  const { summary, missing } = built;
  if (flags.json) {
    printJson({ page, assets, files: built.files.map(({ name }) => name), summary, missing });
    return;
  }
  const print = page === STDOUT_PATH ? say : printResult;
  print(describeSummary(summary).join('\n'));
  for (const name of data.ofAnotherMask) {
    say(`duo: ${name} was measured with another mask than mask.json; the report labels its rows, or leaves them out.`);
  }
  for (const { title, reason, command } of missing)
    say(`Left out: ${title} (${reason})${command === null ? '' : `; ${command} produces it`}.`);
  print(`Written to ${nameOutput(page)}, with ${built.files.length} figures and tables in ${assets}.`);
}
