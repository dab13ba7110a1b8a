// Numbers for people, with their units: one rounding for the command line, estimates and the report.

/** A share as "97.3 %". */
export function formatShare(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

/** An interval of shares as "83.9–100.0 %". */
export function formatShareInterval([low, high]: readonly [number, number] | readonly number[]): string {
  return `${(100 * (low as number)).toFixed(1)}–${(100 * (high as number)).toFixed(1)} %`;
}

/** Tokens: 32768 → "32K", 1048576 → "1M", 1000 → "1000". */
export function formatTokens(tokens: number): string {
  if (tokens >= 2 ** 20 && tokens % 2 ** 20 === 0) return `${tokens / 2 ** 20}M`;
  return tokens >= 1024 && tokens % 1024 === 0 ? `${tokens / 1024}K` : String(tokens);
}

/** Bytes in binary units with three figures: "1.50 GiB". */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(value < 10 ? 2 : 1)} ${units[unit]}`;
}

/** Seconds as "0.42 s", "8.1 s", "40 s", "3 min 20 s" or "2 h 5 min"; a zero of the smaller unit is left out. */
export function formatSeconds(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(seconds < 0.995 ? 2 : 1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  return whole < 3600
    ? joinUnits([Math.floor(whole / 60), 'min'], [whole % 60, 's'])
    : joinUnits([Math.floor(whole / 3600), 'h'], [Math.floor((whole % 3600) / 60), 'min']);
}

function joinUnits([large, largeUnit]: [number, string], [small, smallUnit]: [number, string]): string {
  return small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`;
}

/** Time that is only expected, without more figures than a guess has: whole seconds below two minutes, whole minutes above. */
export function formatExpectedSeconds(seconds: number): string {
  if (seconds < 120) return `${Math.max(1, Math.round(seconds))} s`;
  return formatSeconds(60 * Math.round(seconds / 60));
}

/** A number with at most four significant digits, without trailing zeros; three where it needs an exponent. */
export function formatNumber(value: number): string {
  if (value === 0 || Number.isInteger(value)) return String(value);
  return Math.abs(value) >= 1e-3 && Math.abs(value) < 1e5
    ? String(Number(value.toPrecision(4)))
    : value.toExponential(2);
}
