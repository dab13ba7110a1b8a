// Windows of KV heads as the native library takes them.
import type { HeadMask } from '../../core/shapes.ts';

/** One number per KV head in the order layer·G + head: 0 = the whole context, w = the w nearest tokens.
 * @param windows `[layers][kvHeads]`; null = the whole context. */
export function flattenWindows(windows: HeadMask['windows']): BigInt64Array {
  return BigInt64Array.from(windows.flat(), (window) => BigInt(window ?? 0));
}
