// duo doctor: what this machine can run, and what is missing.
import type { Command } from 'commander';
import { readVersion } from '../core/package.ts';
import { formatBytes } from '../core/words.ts';
import { inspectMachine, type MachineReport } from './machine.ts';
import { printJson, printResult } from './terminal.ts';

export function defineDoctorCommand(command: Command, _signal: AbortSignal): void {
  command.option('--json', 'print everything as JSON').action(async (flags: { json?: boolean }) => {
    const report = await inspectMachine();
    if (flags.json) printJson({ duo: readVersion(), ...report });
    else printResult(formatReport(report));
  });
}

function formatReport(report: MachineReport): string {
  const { node, system, native } = report;
  const mark = (works: boolean): string => (works ? 'ok ' : '–  ');
  const cpuFeatures = native.devices.find(({ name }) => name === 'cpu')?.features ?? [];
  const lines = [
    `duo ${readVersion()}`,
    `${mark(node.isSupported)} Node ${node.version}`,
    `   ${system.cpu}, ${system.threads} threads, ${formatBytes(system.memoryBytes)}, ${system.platform} ${system.arch}`,
    ...(cpuFeatures.length > 0 ? [`   instruction sets: ${cpuFeatures.join(', ')}`] : []),
    '',
    'Engines',
    `${mark(native.works)} native${native.works ? ` (${native.path})` : `: ${native.detail}`}`,
    ...native.devices.map(
      ({ name, available, description, memoryBytes, reason }) =>
        `   ${mark(available)} ${name}: ${available ? `${description}, ${formatBytes(memoryBytes)}` : reason}`,
    ),
    `${mark(report.tensorflow.some(({ works }) => works))} tensorflow`,
    ...report.tensorflow.map(({ name, works, detail }) => `   ${mark(works)} ${name}: ${detail}`),
    '',
    'Tools that build the native library',
    ...report.tools.map(
      ({ name, version }) => `${mark(version !== null)} ${name}${version === null ? '' : `: ${version}`}`,
    ),
  ];
  if (report.advice.length > 0) lines.push('', ...report.advice);
  return lines.join('\n');
}
