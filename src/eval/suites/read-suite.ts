// Official suites by kind and path, as `--suite kind:path` names them.
import { ConfigError } from '../../errors/errors.ts';
import { readInfinitebench } from './infinitebench.ts';
import { readKvpressParquet } from './kvpress-parquet.ts';
import { readLongbench } from './longbench.ts';
import type { LongbenchOptions } from './longbench-score.ts';
import { readLongbenchV2 } from './longbench-v2.ts';
import { readRuler } from './ruler.ts';
import type { SuiteItem } from './suite-item.ts';

const READERS: Readonly<
  Record<string, (path: string, options: LongbenchOptions) => SuiteItem[] | Promise<SuiteItem[]>>
> = {
  ruler: readRuler,
  longbench: readLongbench,
  'longbench-v2': readLongbenchV2,
  infinitebench: readInfinitebench,
  kvpress: readKvpressParquet,
};

export const SUITE_KINDS: readonly string[] = Object.keys(READERS);

/** Read one file of a suite.
 * @param spec `kind:path`.  @throws {ConfigError} no such kind; {FileError}; {FormatError} with file and line. */
export async function readSuite(spec: string, options: LongbenchOptions = {}): Promise<SuiteItem[]> {
  const colon = spec.indexOf(':');
  const read = READERS[spec.slice(0, Math.max(0, colon))];
  if (read !== undefined && colon + 1 < spec.length) return read(spec.slice(colon + 1), options);
  throw new ConfigError(`Expected a suite as kind:path with a kind of ${SUITE_KINDS.join(', ')}, got \`${spec}\``);
}
