// The flags --mask and --allow-other-model, of commands that run a model under one mask.
import type { HeadMask } from '../core/shapes.ts';
import { checkMaskFits, readMask, toHeadMask } from '../formats/mask.ts';
import { findRunFile } from '../formats/run-file.ts';
import type { ModelFolder } from '../model/folder.ts';

/** The mask of --mask, checked against the model; 'full' without one. */
export function readMaskFlag(
  flags: { readonly mask?: string; readonly allowOtherModel?: boolean },
  folder: ModelFolder,
): HeadMask | 'full' {
  if (flags.mask === undefined) return 'full';
  const path = findRunFile(flags.mask, 'mask.json');
  const file = readMask(path);
  const { fingerprint, olderFingerprint } = folder;
  const model = { shape: folder.config.shape, fingerprint, olderFingerprint };
  checkMaskFits(file, model, { path, allowOther: flags.allowOtherModel === true });
  return toHeadMask(file);
}
