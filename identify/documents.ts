// The running text of a run: what was named, else the small corpus that ships with duo.
import { join } from 'node:path';
import { findPackageRoot } from '../src/core/package.ts';

export interface Documents {
  /** text, folder, JSONL, JSONL.gz or JSONL.zst */
  readonly documents?: string | undefined;
  /** documents to hold out; default: a part of `documents` */
  readonly heldOutDocuments?: string | undefined;
}

export function findDocuments({ documents }: Documents): string {
  return documents ?? join(findPackageRoot(), 'corpus', 'texts');
}
