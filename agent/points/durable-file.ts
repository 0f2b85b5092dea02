import { closeSync, fsyncSync, openSync, renameSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

const PRIVATE_MODE = 0o600

/** As a whole or not at all, and on disk when it returns. */
export function replaceFile(path: string, text: string): void {
  const partial = `${path}.partial`
  const file = openSync(partial, 'w', PRIVATE_MODE)
  try {
    writeFileSync(file, text)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
  renameSync(partial, path)
  syncDirectory(dirname(path))
}

export function syncDirectory(path: string): void {
  const folder = openSync(path, 'r')
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
}
