// The name of a head mask in results: sha256 over its sink and windows, whatever file, gates or model it came from.
import { createHash } from 'node:crypto';
import type { HeadMask } from '../core/shapes.ts';

/** `sha256:…` of `{"sink":S,"windows":[[…],…]}` without spaces, null = the whole context; null for full attention. */
export function hashMask(mask: HeadMask | 'full'): string | null {
  if (mask === 'full') return null;
  const text = JSON.stringify({ sink: mask.sinkTokens, windows: mask.windows });
  return `sha256:${createHash('sha256').update(text).digest('hex')}`;
}
