// What one identification works with: everything opened and settled.
import type { Config } from '../src/config/config.ts';
import type { WindowRule } from '../src/core/window-rule.ts';
import type { Engine } from '../src/engine/engine.ts';
import type { ModelFolder } from '../src/model/folder.ts';
import type { HeadMethod } from '../train/methods/method.ts';
import type { MaskCut } from './choose-mask.ts';
import type { IdentifyOptions } from './options.ts';
import type { SampleSource } from './sample-source.ts';

export interface Parts {
  readonly options: IdentifyOptions;
  readonly folder: ModelFolder;
  readonly config: Config;
  /** changes of the preset, as clauses */
  readonly fitted: readonly string[];
  readonly method: HeadMethod;
  readonly cut: MaskCut;
  /** rungs of the ladder that is measured, ascending; none without one */
  readonly windows: readonly number[];
  /** how they depend on the length of a sample; null = the same in every one */
  readonly windowRule: WindowRule | null;
  /** of the samples that the heads are scored by */
  readonly longestTokens: number;
  readonly source: SampleSource;
  readonly engine: Engine;
  /** engines of other devices of the same kind */
  readonly helpers: readonly Engine[];
}
