import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { START_SCRIPT } from './page.ts'

/** What the page is made of: swagger-ui's own build, and the few lines that start it. */
export interface Asset {
  readonly bytes: Uint8Array
  readonly contentType: string
  readonly etag: string
}

const FROM_SWAGGER_UI = new Map([
  ['swagger-ui.css', 'text/css; charset=utf-8'],
  // Node guesses no charset, and without one the browser mangles what is outside ASCII in it.
  ['swagger-ui-bundle.js', 'text/javascript; charset=utf-8'],
  ['favicon-32x32.png', 'image/png'],
])

function fileOf(name: string): string {
  return fileURLToPath(import.meta.resolve(`swagger-ui-dist/${name}`))
}

function assetOf(bytes: Uint8Array, contentType: string): Asset {
  return { bytes, contentType, etag: `"${createHash('sha256').update(bytes).digest('base64url')}"` }
}

/** Is in the assets' paths, so that they can be kept for ever. */
export function assetVersion(): string {
  const { version } = z.object({ version: z.string() }).parse(JSON.parse(readFileSync(fileOf('package.json'), 'utf8')))
  const start = createHash('sha256').update(START_SCRIPT).digest('hex').slice(0, 8)
  return `${version}-${start}`
}

/** Reads each file once. @returns undefined for a name that is none of ours: never a path from a request. */
export function createAssets(): (name: string) => Promise<Asset | undefined> {
  const kept = new Map<string, Promise<Asset>>()
  kept.set('start.js', Promise.resolve(assetOf(Buffer.from(START_SCRIPT), 'text/javascript; charset=utf-8')))
  return async (name) => {
    const contentType = FROM_SWAGGER_UI.get(name)
    if (contentType === undefined || kept.has(name)) return kept.get(name)
    const asset = readFile(fileOf(name)).then((bytes) => assetOf(bytes, contentType))
    kept.set(name, asset)
    return asset
  }
}
