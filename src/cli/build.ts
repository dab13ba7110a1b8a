// duo build: compile the native library of this clone or package, for machines where the install could not.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { findPackageRoot } from '../core/package.ts';
import { AbortedError, ConfigError, EngineError } from '../errors/errors.ts';
import { say } from './terminal.ts';

interface BuildFlags {
  /** undefined: as the machine suggests; commander makes --no-cuda false */
  readonly cuda?: boolean;
  readonly force?: boolean;
}

export function defineBuildCommand(command: Command, signal: AbortSignal): void {
  command
    .option('--cuda', 'with the CUDA part, even without a GPU; default: if nvcc and a GPU are found')
    .option('--no-cuda', 'without the CUDA part')
    .option('--force', 'build although the sources are unchanged')
    .action((flags: BuildFlags, command: Command) => build(flags, { command, signal }));
}

async function build(flags: BuildFlags, run: { command: Command; signal: AbortSignal }): Promise<void> {
  const { signal } = run;
  const root = findPackageRoot();
  const script = join(root, 'scripts', 'build-native.mjs');
  if (!existsSync(script)) {
    throw new ConfigError(`Expected ${script}, which builds the native library, found none; install duo again.`);
  }
  const wasAsked = run.command.getOptionValueSource('cuda') === 'cli';
  const cuda = wasAsked ? [flags.cuda ? '--cuda' : '--no-cuda'] : [];
  const code = await new Promise<number | null>((resolve, reject) => {
    const child = spawn(process.execPath, [script, ...cuda, ...(flags.force ? ['--force'] : [])], {
      cwd: root,
      stdio: ['ignore', 2, 2],
    });
    signal.addEventListener('abort', () => child.kill('SIGTERM'), { once: true });
    child.on('error', reject);
    child.on('close', (status) => resolve(status));
  });
  if (signal.aborted) throw new AbortedError('The build was stopped.');
  if (code !== 0) {
    throw new EngineError(
      'Expected the native library to build; what failed is printed above, and `duo doctor` says what is missing.',
    );
  }
  say('duo build: `duo doctor` shows what the library found on this machine.');
}
