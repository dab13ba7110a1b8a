// Flags of the measurements that are programs of their own.
import { basename } from 'node:path';
import { parseArgs } from 'node:util';

/** Read the command line: texts by name. Ends the process with one sentence and exit code 2 where a flag without a default is missing.
 * @param required names of flags that must be given.  @param defaults the others, name → value. */
export function readFlags(required, defaults) {
  const options = {
    ...Object.fromEntries(required.map((name) => [name, { type: 'string' }])),
    ...Object.fromEntries(Object.entries(defaults).map(([name, value]) => [name, { type: 'string', default: value }])),
  };
  const { values } = parseArgs({ options });
  const missing = required.find((name) => values[name] === undefined);
  if (missing === undefined) return values;
  console.error(`${basename(process.argv[1], '.mjs')}: Expected --${missing}, got none.`);
  return process.exit(2);
}
