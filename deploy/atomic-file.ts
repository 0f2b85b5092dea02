import { closeSync, fsyncSync, openSync, renameSync, writeFileSync } from 'node:fs'

/** Readable by its owner alone: state files hold secrets or tell where they are. */
export const PRIVATE_FILE_MODE = 0o600
export const PRIVATE_DIRECTORY_MODE = 0o700

/** Replaces the file as a whole: after a crash it holds the old text or the new one. */
export function writeFileAtomically(path: string, text: string): void {
  const partial = `${path}.partial`
  const file = openSync(partial, 'w', PRIVATE_FILE_MODE)
  try {
    writeFileSync(file, text)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
  renameSync(partial, path)
}
