// What the comparison of methods works on: an engine, training and held-out samples of a preset, ranked masks.
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateSample } from '../data-gen/passkey.ts';
import { cutGates } from '../export/cut.ts';
import { openOrigin } from '../identify/sample-source.ts';
import { openEngine } from '../src/cli/open.ts';
import type { Config } from '../src/config/config.ts';
import { loadPreset } from '../src/config/presets.ts';
import type { GateGrid, MaskGrid, Sample, Window } from '../src/core/shapes.ts';
import type { Engine } from '../src/engine/engine.ts';
import { openModelFolder } from '../src/model/folder.ts';
import type { OptimizeSettings } from '../train/optimize.ts';

export interface Setup {
  readonly engine: Engine;
  readonly config: Config;
  readonly window: Window;
  readonly settings: OptimizeSettings;
  /** training sample i */
  readonly sampleAt: (index: number) => Sample;
  /** for recall: other draws, other text */
  readonly heldOut: readonly Sample[];
  close(): Promise<void>;
}

/** Open a model with a preset's samples. */
export async function openSetup(options: {
  model: string;
  preset: string;
  engine: string;
  heldOut: number;
  /** in place of the preset's window */
  sink?: string | undefined;
  recent?: string | undefined;
}): Promise<Setup> {
  const folder = openModelFolder(options.model);
  const { config } = loadPreset(options.preset);
  const origin = await openOrigin({ folder, config, haystackPath: undefined });
  const engine = await openEngine(folder, { engine: options.engine });
  const window = {
    sinkTokens: Number(options.sink ?? config.sinkTokens),
    recentTokens: Number(options.recent ?? config.recentTokens),
  };
  const heldOut = Array.from({ length: options.heldOut }, (_, index) =>
    generateSample({ ...origin, split: 'held-out', index, lengthTokens: config.maxTokens }),
  );
  return {
    engine,
    config,
    window,
    heldOut,
    settings: {
      steps: config.steps,
      lr: config.lr,
      lambda: config.lambda,
      window,
      supervise: config.supervise,
      fullBranch: config.fullBranch,
      checkpointEvery: config.steps,
      gatesEvery: config.steps,
      stableSteps: 0,
    },
    sampleAt: (index) => generateSample({ ...origin, split: 'train', index }),
    async close() {
      await engine.close();
      folder.close();
    },
  };
}

/** Fresh paths for the files that a method writes. */
export function makeScratchFiles(): { metrics: string; checkpoint: string } {
  const folder = mkdtempSync(join(tmpdir(), 'duo-compare-'));
  return { metrics: join(folder, 'metrics.jsonl'), checkpoint: join(folder, 'checkpoint.json') };
}

/** The mask in which the `streaming` lowest gates stream. */
export function cutRanked(gates: GateGrid, streaming: number): MaskGrid {
  const heads = gates.flat().length;
  return cutGates(gates, { streamingFraction: streaming / heads }).mask;
}

/** Mean of some numbers; 0 of none. */
export function meanOf(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}
