// Decompresses zstd streams (RFC 8878) with a bound on memory: frames are cut here into header and blocks, so that a window is refused
// before it is allocated and no more than one block is decompressed ahead of its reader. The blocks themselves are fzstd's.
import { Decompress } from 'fzstd';
import { FormatError } from '../src/errors/errors.ts';

/** What the zstd program takes without --long, which is also what its highest level makes. */
const MAX_WINDOW_BYTES = 2 ** 27;
const MAX_BLOCK_BYTES = 2 ** 17;
const FRAME_MAGIC = 0xfd2fb528;
/** Sixteen magic numbers begin frames without text, for other programs. */
const SKIPPABLE_MAGIC = 0x184d2a5;
const RLE_BLOCK = 1;

/** The decompressed bytes, a block at a time.
 * @param path of the file, for errors.
 * @throws {FormatError} a window above 128 MiB; {Error} damaged or cut short. */
export async function* decompressZstd(chunks: AsyncIterable<Uint8Array>, path: string): AsyncGenerator<Uint8Array> {
  let ready: Uint8Array[] = [];
  const stream = new Decompress((chunk) => ready.push(chunk));
  for await (const piece of cutFrames(new ByteSource(chunks), path)) {
    stream.push(piece);
    yield* ready;
    ready = [];
  }
  stream.push(new Uint8Array(0), true);
  yield* ready;
}

/** Headers, blocks and checksums one at a time, without skippable frames; where the stream ends early, so does the last piece. */
async function* cutFrames(source: ByteSource, path: string): AsyncGenerator<Uint8Array> {
  for (;;) {
    const magic = await source.take(4);
    if (magic.length < 4) {
      if (magic.length > 0) yield magic;
      return;
    }
    const number = readNumber(magic);
    if (Math.floor(number / 16) === SKIPPABLE_MAGIC) {
      await source.skip(readNumber(await source.take(4)));
      continue;
    }
    if (number !== FRAME_MAGIC) throw new Error('invalid zstd data');
    const header = await readHeader(source);
    if (header.windowBytes > MAX_WINDOW_BYTES) {
      throw new FormatError(
        `Expected ${path} to be compressed with a window of at most ${MAX_WINDOW_BYTES / 2 ** 20} MiB, got ${Math.ceil(header.windowBytes / 2 ** 20)} MiB; compress it again with \`zstd\` without --long.`,
      );
    }
    yield join(magic, header.bytes);
    for (let isLast = false; !isLast; ) {
      const block = await readBlock(source);
      yield block.bytes;
      isLast = block.isLast;
    }
    if (header.hasChecksum) yield await source.take(4);
  }
}

async function readHeader(
  source: ByteSource,
): Promise<{ bytes: Uint8Array; windowBytes: number; hasChecksum: boolean }> {
  const [descriptor = 0] = await source.take(1);
  const isSingleSegment = (descriptor & 32) !== 0;
  const window = isSingleSegment ? new Uint8Array(0) : await source.take(1);
  const dictionary = await source.take([0, 1, 2, 4][descriptor & 3] as number);
  const sizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6] as number;
  const size = await source.take(sizeBytes);
  const exponent = (window[0] ?? 0) >> 3;
  const windowBytes = isSingleSegment
    ? readNumber(size) + (sizeBytes === 2 ? 256 : 0)
    : 2 ** (10 + exponent) * (1 + ((window[0] ?? 0) & 7) / 8);
  const bytes = join(join(Uint8Array.of(descriptor), window), join(dictionary, size));
  return { bytes, windowBytes, hasChecksum: (descriptor & 4) !== 0 };
}

async function readBlock(source: ByteSource): Promise<{ bytes: Uint8Array; isLast: boolean }> {
  const header = await source.take(3);
  if (header.length < 3) return { bytes: header, isLast: true };
  const value = readNumber(header);
  const sizeBytes = value >> 3;
  if (sizeBytes > MAX_BLOCK_BYTES) throw new Error('invalid block size');
  const content = await source.take(((value >> 1) & 3) === RLE_BLOCK ? 1 : sizeBytes);
  return { bytes: join(header, content), isLast: (value & 1) === 1 };
}

/** Little-endian; exact up to 2^53, and no size beyond that is allowed. */
function readNumber(bytes: Uint8Array): number {
  return bytes.reduceRight((value, byte) => value * 256 + byte, 0);
}

function join(first: Uint8Array, second: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(first.length + second.length);
  bytes.set(first);
  bytes.set(second, first.length);
  return bytes;
}

/** Bytes of a stream by their number, whatever the pieces in which they come. */
class ByteSource {
  private readonly chunks: AsyncIterator<Uint8Array>;
  private chunk: Uint8Array = new Uint8Array(0);

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.chunks = chunks[Symbol.asyncIterator]();
  }

  /** The next bytes; fewer where the stream ends. */
  async take(numBytes: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(numBytes);
    let filled = 0;
    while (filled < numBytes && (await this.fill())) {
      const part = this.chunk.subarray(0, numBytes - filled);
      bytes.set(part, filled);
      filled += part.length;
      this.chunk = this.chunk.subarray(part.length);
    }
    return bytes.subarray(0, filled);
  }

  async skip(numBytes: number): Promise<void> {
    let left = numBytes;
    while (left > 0 && (await this.fill())) {
      const skipped = Math.min(left, this.chunk.length);
      left -= skipped;
      this.chunk = this.chunk.subarray(skipped);
    }
  }

  /** @returns false at the end. */
  private async fill(): Promise<boolean> {
    while (this.chunk.length === 0) {
      const { value, done } = await this.chunks.next();
      if (done) return false;
      this.chunk = value;
    }
    return true;
  }
}
