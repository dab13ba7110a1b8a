// The heat map of gates: darker = nearer to 1; a dot marks the mask's retrieval heads.
import type { GateGrid, MaskGrid } from '../../core/shapes.ts';
import type { Figure } from './figure.ts';
import { drawHeadMap } from './head-map.ts';

/** @param mask its retrieval heads are marked; null marks none. */
export function drawGateMap(gates: GateGrid, mask: MaskGrid | null): Figure {
  return drawHeadMap({
    name: 'gate-map',
    title: 'Gates by layer and KV head',
    caption: `Gate of each KV head: 1 needs the whole context, 0 does with sinks and recent tokens.${mask ? ' A dot marks the heads that the mask keeps whole.' : ''}`,
    layers: gates.length,
    heads: gates[0]?.length ?? 0,
    cells: gates.flatMap((row, layer) =>
      row.map((gate, head) => {
        const isMarked = mask?.[layer]?.[head] === 1;
        const label = `layer ${layer}, KV head ${head}: gate ${gate.toFixed(3)}${mask ? (isMarked ? ', retrieval' : ', streaming') : ''}`;
        return { layer, head, shade: gate, text: gate.toFixed(2), isMarked, label };
      }),
    ),
    ends: ['gate 0', '1'],
  });
}
