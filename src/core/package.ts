// The package's own folder, version and demo model, found from the sources and from the built files alike.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The package's root folder. */
export function findPackageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
}

/** The folder of the model that ships with duo. */
export function findDemoFolder(): string {
  return join(findPackageRoot(), 'models', 'demo');
}

/** True where `--model` names the model that ships with duo: `demo`, or its folder. */
export function isDemoName(model: string): boolean {
  return model === 'demo' || resolve(model) === findDemoFolder();
}

/** duo's version, "0.1.0". */
export function readVersion(): string {
  const { version } = JSON.parse(readFileSync(join(findPackageRoot(), 'package.json'), 'utf8')) as { version: string };
  return version;
}
