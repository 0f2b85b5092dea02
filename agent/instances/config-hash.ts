import { createHash } from 'node:crypto'
import type { InstanceConfig } from './instances.ts'

/** @returns hex SHA-256 over names, sizes and bytes, and the size of all files */
export function digestConfig({ files }: InstanceConfig): { readonly sizeBytes: number; readonly hash: string } {
  const hash = createHash('sha256')
  let sizeBytes = 0
  for (const name of Object.keys(files).toSorted()) {
    const bytes = files[name] ?? Buffer.alloc(0)
    sizeBytes += bytes.length
    hash.update(`${name}\0${bytes.length}\0`).update(bytes)
  }
  return { sizeBytes, hash: hash.digest('hex') }
}
