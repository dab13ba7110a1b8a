// Error classes of duo. Every message is one sentence a person can act on: what was expected, what was found, where, what to do.
// The command line maps the class to an exit code; nothing below the command line prints or exits.

/** Codes by which a program tells errors apart; a message may be reworded, a code does not change. Each belongs to one class. */
export const ERROR_CODES = {
  ERR_DUO: 'any other error that duo raises on purpose',
  ERR_CONFIG: 'an option, preset key or argument is out of range, unknown or contradictory',
  ERR_FORMAT: 'a file does not hold what its format promises',
  ERR_MODEL: 'a model is missing, incomplete or unsupported',
  ERR_BUDGET: 'no mask fits the memory, or keeps the quality, that was asked for',
  ERR_FILE: 'reading or writing failed in the operating system',
  ERR_TRANSFER: 'a fetch ended early or brought other bytes; the next one continues where it was',
  ERR_STDOUT_CLOSED: 'the reader of standard output has closed its end',
  ERR_ENGINE: 'the engine does not load, or could not compute what was asked',
  ERR_NATIVE: 'a call of the native library failed; `status` has the name of its DUO_STATUS code',
  ERR_ABORTED: 'the work was stopped by its AbortSignal',
} as const;

export type ErrorCode = keyof typeof ERROR_CODES;

/** Base of every error duo raises on purpose; anything else that reaches the command line is a defect of duo.
 * What files put into its message is tamed: line ends and control characters become escapes, so that it is one line and does nothing to
 * the terminal that shows it, and the middle of an endless one is left out. */
export class DuoError extends Error {
  override name = 'DuoError';
  readonly code: ErrorCode = 'ERR_DUO';

  constructor(message: string, options?: ErrorOptions) {
    super(escapeControls(shorten(message)), options);
  }

  /** Process exit code when this error ends a command: 1 failed, 2 wrong usage. */
  readonly exitCode: number = 1;
}

/** Control characters, line and paragraph separators, and what turns the direction of text. */
const CONTROLS = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu;

const MAX_CHARACTERS = 4000;
const KEPT_AT_END = 400;

function shorten(text: string): string {
  if (text.length <= MAX_CHARACTERS) return text;
  return `${text.slice(0, MAX_CHARACTERS - KEPT_AT_END)} … ${text.slice(-KEPT_AT_END)}`;
}

function escapeControls(text: string): string {
  return text.replace(CONTROLS, (character) => {
    const escaped = JSON.stringify(character).slice(1, -1);
    return escaped === character ? `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}` : escaped;
  });
}

/** An option, preset key or argument is out of range, unknown or contradictory. Exit code 2. */
export class ConfigError extends DuoError {
  override name = 'ConfigError';
  override readonly code: ErrorCode = 'ERR_CONFIG';
  override readonly exitCode = 2;
}

/** A file or folder does not hold what its format promises; the message names the file and the place in it. */
export class FormatError extends DuoError {
  override name = 'FormatError';
  override readonly code: ErrorCode = 'ERR_FORMAT';
}

/** A model folder is missing, incomplete, of an unknown architecture or unsupported. */
export class ModelError extends DuoError {
  override name = 'ModelError';
  override readonly code: ErrorCode = 'ERR_MODEL';
}

/** No mask fits the memory, or keeps the quality, that was asked for; the message names the nearest that is possible. */
export class BudgetError extends DuoError {
  override name = 'BudgetError';
  override readonly code: ErrorCode = 'ERR_BUDGET';
}

/** Reading or writing failed in the operating system (absent, read-only, disk full). */
export class FileError extends DuoError {
  override name = 'FileError';
  override readonly code: ErrorCode = 'ERR_FILE';
}

/** The engine could not compute what was asked (backend absent, out of memory, not a number). */
export class EngineError extends DuoError {
  override name = 'EngineError';
  override readonly code: ErrorCode = 'ERR_ENGINE';
}

/** A call of the native library returned a status that is not OK; the message is the library's. */
export class NativeError extends EngineError {
  override name = 'NativeError';
  override readonly code: ErrorCode = 'ERR_NATIVE';
  /** name of the DUO_STATUS code, such as `FORMAT` */
  readonly status: string;

  constructor(message: string, status: string) {
    super(message);
    this.status = status;
  }
}

/** The work was stopped by its AbortSignal; the command line turns it into exit code 130 after a checkpoint. */
export class AbortedError extends DuoError {
  override name = 'AbortedError';
  override readonly code: ErrorCode = 'ERR_ABORTED';
  override readonly exitCode = 130;
}
