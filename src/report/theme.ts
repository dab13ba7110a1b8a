// Colours of the report for light and dark: ink, one ramp for amounts (light to dark blue; dark to light on dark ground) and
// series colours after Okabe and Ito, which stay apart for colour-blind readers. Figures name them as CSS variables.

/** Steps of the ramp: amount 0 to 1 in twentieths. */
export const RAMP_STEPS = 20;

type Rgb = readonly [number, number, number];

const LIGHT: Record<string, string> = {
  page: '#f6f7f9',
  card: '#ffffff',
  ink: '#16202c',
  soft: '#566373',
  line: '#dfe4ea',
  accent: '#0a5ea8',
  warn: '#a34700',
  'series-1': '#0072b2',
  'series-2': '#c44e00',
  'series-3': '#00785a',
  'series-4': '#a9497f',
  'series-5': '#8a6a00',
  'series-6': '#4a5a9c',
  neutral: '#8a95a3',
};

const DARK: Record<string, string> = {
  page: '#0f141a',
  card: '#171e26',
  ink: '#e8edf3',
  soft: '#9dabbb',
  line: '#2b3541',
  accent: '#6cb6f5',
  warn: '#ffab66',
  'series-1': '#56b4e9',
  'series-2': '#f28e3c',
  'series-3': '#2fc49a',
  'series-4': '#e08bbd',
  'series-5': '#dfc04a',
  'series-6': '#97a6ea',
  neutral: '#77848f',
};

const LIGHT_RAMP: readonly Rgb[] = [
  [233, 239, 245],
  [158, 197, 228],
  [61, 134, 189],
  [10, 61, 112],
];
const DARK_RAMP: readonly Rgb[] = [
  [35, 44, 54],
  [27, 82, 126],
  [58, 146, 208],
  [205, 232, 252],
];

function mixRamp(stops: readonly Rgb[], share: number): string {
  const at = share * (stops.length - 1);
  const from = Math.min(Math.floor(at), stops.length - 2);
  const channel = (index: number): number => {
    const low = (stops[from] as Rgb)[index] as number;
    return Math.round(low + (at - from) * (((stops[from + 1] as Rgb)[index] as number) - low));
  };
  return `#${[0, 1, 2].map((index) => channel(index).toString(16).padStart(2, '0')).join('')}`;
}

function withRamp(colours: Record<string, string>, ramp: readonly Rgb[], middle: number): Record<string, string> {
  const all = { ...colours };
  for (let step = 0; step <= RAMP_STEPS; step++) {
    all[`ramp-${step}`] = mixRamp(ramp, step / RAMP_STEPS);
    // text on a cell of this amount: the page's ink on the weak half, the card's ground on the strong half
    all[`on-ramp-${step}`] = (step / RAMP_STEPS > middle ? colours.card : colours.ink) as string;
  }
  return all;
}

const LIGHT_ALL = withRamp(LIGHT, LIGHT_RAMP, 0.45);
const DARK_ALL = withRamp(DARK, DARK_RAMP, 0.6);

/** Colour of an amount. @param share 0 to 1. */
export function rampColour(share: number): string {
  return `var(--ramp-${rampStep(share)})`;
}

/** Colour of text on `rampColour(share)`. */
export function onRampColour(share: number): string {
  return `var(--on-ramp-${rampStep(share)})`;
}

function rampStep(share: number): number {
  return Math.round(Math.min(1, Math.max(0, share)) * RAMP_STEPS);
}

/** The style rules that define the colours. */
export function formatColourRules(): string {
  const rules = (colours: Record<string, string>): string =>
    Object.entries(colours)
      .map(([name, value]) => `--${name}:${value}`)
      .join(';');
  return `:root{color-scheme:light dark;${rules(LIGHT_ALL)}}
@media (prefers-color-scheme:dark){@media screen{:root{${rules(DARK_ALL)}}}}`;
}

/** An SVG with the light colours in place of variables, for files outside the page. */
export function resolveColours(svg: string): string {
  return svg.replace(/var\(--([a-z0-9-]+)\)/g, (_, name: string) => LIGHT_ALL[name] ?? 'currentColor');
}
