import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { FileError } from '../../../src/errors/errors.ts';
import { writeFileAtomic } from '../../../src/formats/atomic-file.ts';
import { isReplacedWhole, openOutput } from '../../../src/formats/output.ts';

const scratch = mkdtempSync(join(tmpdir(), 'duo-output-'));
afterAll(() => rmSync(scratch, { recursive: true }));
const at = (name: string): string => join(scratch, name);
const temporaries = (): string[] => readdirSync(scratch).filter((name) => name.endsWith('.tmp'));
const isRoot = process.getuid?.() === 0;

describe('an output', () => {
  it.each([0o600, 0o640, 0o755, 0o444])('keeps the mode %o of the file that it replaces', (mode) => {
    writeFileSync(at('mode'), 'old');
    chmodSync(at('mode'), mode);
    writeFileAtomic(at('mode'), 'new');
    expect(statSync(at('mode')).mode & 0o7777).toBe(mode);
    expect(readFileSync(at('mode'), 'utf8')).toBe('new');
    rmSync(at('mode'));
  });

  it('follows a link, also one to a link and one to nothing yet, and replaces its target', () => {
    mkdirSync(at('target'));
    writeFileSync(at('target/real.json'), 'old');
    symlinkSync('target/real.json', at('link'));
    symlinkSync(at('link'), at('link-to-link'));
    symlinkSync('target/new.json', at('dangling'));
    writeFileAtomic(at('link-to-link'), 'new');
    writeFileAtomic(at('dangling'), 'made');
    expect(lstatSync(at('link')).isSymbolicLink()).toBe(true);
    expect(readlinkSync(at('link-to-link'))).toBe(at('link'));
    expect(readFileSync(at('target/real.json'), 'utf8')).toBe('new');
    expect(readFileSync(at('target/new.json'), 'utf8')).toBe('made');
  });

  it('resolves a relative link from the folder that it really lies in', () => {
    mkdirSync(at('a/b'), { recursive: true });
    symlinkSync(at('a/b'), at('folder-link'));
    symlinkSync('../up.json', at('a/b/up'));
    writeFileAtomic(at('folder-link/up'), 'x');
    expect(readFileSync(at('a/up.json'), 'utf8')).toBe('x');
  });

  it('refuses links in a circle', () => {
    symlinkSync(at('circle-2'), at('circle-1'));
    symlinkSync(at('circle-1'), at('circle-2'));
    expect(() => writeFileAtomic(at('circle-1'), 'x')).toThrow(FileError);
  });

  it('writes a FIFO in place, and leaves it a FIFO', async () => {
    spawnSync('mkfifo', [at('fifo')]);
    expect(isReplacedWhole(at('fifo'))).toBe(false);
    const reader = spawn('cat', [at('fifo')]);
    const read = new Promise<string>((resolve) => {
      let text = '';
      reader.stdout.on('data', (data: Buffer) => {
        text += data;
      });
      reader.on('close', () => resolve(text));
    });
    const large = 'x'.repeat(300_000);
    // A blocking open waits for the reader, which is there.
    writeFileAtomic(at('fifo'), large);
    expect((await read).length).toBe(large.length);
    expect(statSync(at('fifo')).isFIFO()).toBe(true);
  });

  it.skipIf(!isRoot)('writes a character device in place and refuses a block device', () => {
    spawnSync('mknod', [at('null'), 'c', '1', '3']);
    spawnSync('mknod', [at('disk'), 'b', '7', '99']);
    writeFileAtomic(at('null'), 'x');
    expect(statSync(at('null')).isCharacterDevice()).toBe(true);
    expect(() => writeFileAtomic(at('disk'), 'x')).toThrow(/it is a disk or another block device; name a file/);
    expect(statSync(at('disk')).isBlockDevice()).toBe(true);
  });

  it('reports a device that is full', () => {
    expect(() => writeFileAtomic('/dev/full', 'x')).toThrow('Cannot write /dev/full: the disk is full');
  });

  it('refuses a socket and a folder', async () => {
    const server = createServer().listen(at('socket'));
    await new Promise((done) => server.on('listening', done));
    expect(() => writeFileAtomic(at('socket'), 'x')).toThrow(/it is a socket; name a file/);
    expect(() => writeFileAtomic(scratch, 'x')).toThrow(/it is a folder; name a file/);
    await new Promise((done) => server.close(done));
  });

  it('leaves the old file and nothing else when it is discarded', () => {
    writeFileSync(at('kept'), 'old');
    const output = openOutput(at('kept'));
    output.write(Buffer.from('half'));
    expect(temporaries()).toHaveLength(1);
    output.discard();
    expect(readFileSync(at('kept'), 'utf8')).toBe('old');
    expect(temporaries()).toEqual([]);
  });

  it('names /dev/stdout and - as standard output', () => {
    for (const path of ['-', '/dev/stdout', '/dev/fd/1', '/proc/self/fd/1']) expect(isReplacedWhole(path)).toBe(false);
    expect(existsSync('-')).toBe(false);
  });
});
