// Text as Python 3 sees it, for scores that must equal those of Python programs: its white space, its digits, its word
// boundaries and its rounding all differ from JavaScript's outside ASCII.

/** What `str.isspace`, `str.split()` and `\s` take for white space. U+FEFF is none; U+001C to U+001F and U+0085 are. */
const SPACE = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';
const SPACES = new RegExp(`[${SPACE}]+`, 'g');
const OUTER_SPACE = new RegExp(`^[${SPACE}]+|[${SPACE}]+$`, 'g');
const ONE_SPACE = new RegExp(`^[${SPACE}]$`);

/** `string.punctuation`. */
export const ASCII_PUNCTUATION = '!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~';

/** `text.split()`: words between white space, none of them empty. */
export function splitWhiteSpace(text: string): string[] {
  return text.split(SPACES).filter((word) => word !== '');
}

/** `text.strip()`. */
export function stripWhiteSpace(text: string): string {
  return text.replace(OUTER_SPACE, '');
}

/** `character.isspace()` for one character. */
export function isWhiteSpace(character: string): boolean {
  return ONE_SPACE.test(character);
}

/** `re.findall(r"\d+", text)`: decimal digits of every script. */
export function findDigits(text: string): string[] {
  return text.match(/\p{Nd}+/gu) ?? [];
}

/** `int(text)`, null where Python raises ValueError: digits of any script, single underscores between them, a sign. */
export function parsePythonInteger(text: string): number | null {
  const stripped = stripWhiteSpace(text);
  if (!/^[+-]?\p{Nd}+(?:_\p{Nd}+)*$/u.test(stripped)) return null;
  return Number(toAsciiDigits(stripped.replaceAll('_', '')));
}

/** Decimal digits of every script as 0 to 9. A script's ten digits lie side by side, so the value is the distance to the first. */
export function toAsciiDigits(text: string): string {
  return text.replace(/\p{Nd}/gu, (digit) => {
    const code = digit.codePointAt(0) as number;
    let value = 0;
    while (value < 9 && /^\p{Nd}$/u.test(String.fromCodePoint(code - value - 1))) value++;
    // neighbouring scripts of digits (mathematical digits) follow each other without a gap
    if (code >= 0x1d7ce && code <= 0x1d7ff) return String((code - 0x1d7ce) % 10);
    return String(value);
  });
}

/** `int(round(value))`: halves go to the even neighbour. @param value at least 0 */
export function roundHalfEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest !== 0.5) return Math.round(value);
  return below % 2 === 0 ? below : below + 1;
}
