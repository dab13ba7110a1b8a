// A small line chart as SVG: time against tokens, one line per series, labelled at its end.

export interface Series {
  readonly label: string;
  readonly points: readonly (readonly [x: number, y: number])[];
  readonly colour: string;
}

const WIDTH = 720;
const HEIGHT = 420;
const EDGE = { left: 64, right: 150, top: 40, bottom: 52 };

/** @param axes units in the labels. Both axes begin at 0. */
export function drawLines(series: readonly Series[], axes: { title: string; x: string; y: string }): string {
  const points = series.flatMap((line) => line.points);
  const most = { x: Math.max(...points.map(([x]) => x)), y: Math.max(...points.map(([, y]) => y)) };
  const place = (x: number, y: number): [number, number] => [
    EDGE.left + (x / most.x) * (WIDTH - EDGE.left - EDGE.right),
    HEIGHT - EDGE.bottom - (y / most.y) * (HEIGHT - EDGE.top - EDGE.bottom),
  ];
  const parts: string[] = [];
  for (let step = 0; step <= 4; step++) {
    const [x0, y] = place(0, (most.y * step) / 4);
    const [x] = place((most.x * step) / 4, 0);
    parts.push(`<line x1="${x0}" y1="${y}" x2="${WIDTH - EDGE.right}" y2="${y}" stroke="#ddd"/>`);
    parts.push(text(EDGE.left - 8, y + 4, { anchor: 'end', content: round((most.y * step) / 4) }));
    parts.push(text(x, HEIGHT - EDGE.bottom + 20, { anchor: 'middle', content: round((most.x * step) / 4) }));
  }
  for (const { label, points: line, colour } of series) {
    const places = line.map(([x, y]) => place(x, y));
    const path = places.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(' ');
    parts.push(`<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"/>`);
    for (const [x, y] of places)
      parts.push(`<circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="3" fill="${colour}"/>`);
    const [x, y] = places.at(-1) as [number, number];
    parts.push(text(x + 10, y + 4, { anchor: 'start', content: label, colour }));
  }
  parts.push(text(EDGE.left, 22, { anchor: 'start', content: axes.title, size: 15 }));
  parts.push(text((EDGE.left + WIDTH - EDGE.right) / 2, HEIGHT - 12, { anchor: 'middle', content: axes.x }));
  parts.push(text(EDGE.left, EDGE.top - 4, { anchor: 'end', content: axes.y }));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif">\n<rect width="100%" height="100%" fill="#fff"/>\n${parts.join('\n')}\n</svg>\n`;
}

function text(
  x: number,
  y: number,
  label: { anchor: string; content: string; colour?: string; size?: number },
): string {
  const { anchor, content, colour = '#333', size = 12 } = label;
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}" font-size="${size}" fill="${colour}">${content}</text>`;
}

function round(value: number): string {
  if (value === 0) return '0';
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
