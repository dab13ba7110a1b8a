// Hidden states, logits, losses and gate gradients of the native engine against the golden values, with every instruction set here.
import { afterAll, expect, it } from 'vitest';
import { listModelConfigValues } from '../../../../src/engine/native/model-config.ts';
import { openNativeEngine } from '../../../../src/engine/native/native-engine.ts';
import { openModelFolder } from '../../../../src/model/folder.ts';
import { openModel, type Passage } from '../../../../src/native/model.ts';
import { expectAgreement, printToleranceUse } from '../../../reference/agreement.ts';
import { readGolden } from '../../../reference/golden.ts';
import { describeNative, listCpuVariants } from '../../../reference/native-library.ts';

const variants = await listCpuVariants();
const models = ['mha-2l', 'gqa-4l-d192'] as const;
const GATES = ['full', 'stream', 'mixed', 'binary'] as const;

afterAll(printToleranceUse);

describeNative.each(variants.flatMap((device) => models.map((model) => [device, model] as const)))(
  '%s, %s',
  (device, name) => {
    const golden = readGolden(name);
    const label = (what: string): string => `${device} ${what}`;

    it('hidden states and logits', async () => {
      const folder = openModelFolder(golden.path);
      const model = await openModel(listModelConfigValues(folder.config), folder.weights!.files, { device });
      for (const { prefix, sample, window } of golden.cases) {
        for (const gates of GATES) {
          const passage: Passage = {
            tokens: Int32Array.from(sample.tokens),
            positions: Int32Array.from(sample.tokens.keys()),
            gates:
              gates === 'full'
                ? null
                : gates === 'stream'
                  ? new Float32Array(golden.tensor('gates.mixed').length)
                  : Float32Array.from(golden.tensor(`gates.${gates}`)),
            windows: new BigInt64Array(golden.tensor('gates.mixed').length).fill(BigInt(window.recentTokens)),
            sinkTokens: window.sinkTokens,
          };
          const hidden = golden.tensor(`${prefix}hidden.${gates}`);
          expectAgreement(await model.hidden(passage), hidden, { tolerance: 'native', label: label('hidden') });
          if (!golden.has(`${prefix}logits.${gates}`)) continue;
          const logits = golden.tensor(`${prefix}logits.${gates}`);
          expectAgreement(await model.logits(passage), logits, { tolerance: 'native', label: label('logits') });
        }
      }
      model.close();
      folder.close();
    });

    it.each(['predict', 'answer'] as const)('loss and gate gradient, supervise %s', async (supervise) => {
      const folder = openModelFolder(golden.path);
      const engine = await openNativeEngine(folder, { device });
      const { layers, kvHeads } = engine.model;
      const flat = golden.tensor('gates.mixed');
      const gates = Array.from({ length: layers }, (_, layer) => [
        ...flat.subarray(layer * kvHeads, (layer + 1) * kvHeads),
      ]);
      for (const { prefix, sample, window, loss } of golden.cases) {
        const result = await engine.distill(sample, gates, window, { supervise });
        expectAgreement([result.loss], [loss[supervise]], { tolerance: 'native', label: label('loss') });
        const expected = golden.tensor(`${prefix}grad_alpha.${supervise}.f64`);
        expectAgreement(result.gradient.flat(), expected, { tolerance: 'native', label: label('gradient') });
      }
      await engine.close();
      folder.close();
    });
  },
);

describeNative('the golden values', () => {
  it('are seen by every instruction set of this machine', () => {
    expect(variants).toContain('cpu:plain');
  });
});
