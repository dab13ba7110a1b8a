// Work that is worth waiting for when a signal comes: it ends with a checkpoint, or prints what it has. Everything else is ended at once
// where it does not stop by itself.

let hears: (isRunning: boolean) => void = () => {};

/** Call `listener` when such work begins and ends, from now on. */
export function listenToWork(listener: (isRunning: boolean) => void): void {
  hears = listener;
}

/** Ask for time to stop from now on. @returns gives it back; calling it twice does nothing. */
export function takeTimeToStop(): () => void {
  let isTaken = true;
  hears(true);
  return () => {
    if (isTaken) hears(false);
    isTaken = false;
  };
}

/** Run `work`, which heeds its abort signal and then keeps or prints what it has done. */
export async function withTimeToStop<Result>(work: () => Promise<Result>): Promise<Result> {
  const giveBack = takeTimeToStop();
  try {
    return await work();
  } finally {
    giveBack();
  }
}
