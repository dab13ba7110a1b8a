// The heat map of windows, for a mask that has several: darker = sees more; a dot marks the heads that see the whole context.
import { listWindows } from '../../core/head-mask.ts';
import type { HeadMask } from '../../core/shapes.ts';
import { formatTokens } from '../../core/words.ts';
import type { Figure } from './figure.ts';
import { drawHeadMap } from './head-map.ts';

export function drawWindowMap(mask: HeadMask): Figure {
  const windows = listWindows(mask);
  return drawHeadMap({
    name: 'window-map',
    title: 'Windows by layer and KV head',
    caption: `Nearest tokens that each KV head sees in addition to ${mask.sinkTokens} sinks. A dot marks the heads that see the whole context.`,
    layers: mask.windows.length,
    heads: mask.windows[0]?.length ?? 0,
    cells: mask.windows.flatMap((row, layer) =>
      row.map((window, head) => {
        const isMarked = window === null;
        const sees = isMarked ? 'whole context' : `${window} nearest tokens`;
        // equal steps of shade: the rungs of a ladder are mostly powers of two
        const shade = isMarked ? 1 : windows.indexOf(window) / windows.length;
        const text = isMarked ? 'all' : formatTokens(window);
        return { layer, head, shade, text, isMarked, label: `layer ${layer}, KV head ${head}: ${sees}` };
      }),
    ),
    ends: [formatTokens(windows[0] as number), 'all'],
  });
}
