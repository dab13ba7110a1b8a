import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { expect } from 'vitest';

// A busy machine may take long to start a process; a test without load needs milliseconds.
const patience = { timeout: 20_000 };

/** A running process whose parent collects nobody: killed, it stays in /proc as a zombie until `stop`. */
export async function startUncollected(): Promise<{ pid: number; kill: () => Promise<void>; stop: () => void }> {
  // The shell turns into `sleep`; a child killed before that would be collected by the shell.
  const parent = spawn('sh', ['-c', 'sleep 60 & echo $!; exec sleep 60']);
  const [output] = (await once(parent.stdout, 'data')) as [Buffer];
  const pid = Number(output.toString());
  await expect.poll(() => readFileSync(`/proc/${parent.pid}/comm`, 'utf8'), patience).toBe('sleep\n');
  return {
    pid,
    kill: async () => {
      process.kill(pid, 'SIGKILL');
      await expect.poll(() => readFileSync(`/proc/${pid}/stat`, 'utf8'), patience).toContain(') Z ');
    },
    stop: () => parent.kill('SIGKILL'),
  };
}
