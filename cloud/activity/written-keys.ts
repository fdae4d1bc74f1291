/** How keys stand in the setting. Apart from what uses them, so that checking a config loads none of that. Pure. */

/** Each by itself, as it is written. */
export function keysWritten(text: string): string[] {
  return text.split(/\s+/).filter((each) => each !== '')
}
