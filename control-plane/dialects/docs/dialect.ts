import { createHash } from 'node:crypto'
import { z } from 'zod'
import { COMMON_STATUSES, type Dialect, type Failure, raw, WireError } from '../../http/route.ts'
import { assetVersion, createAssets } from './assets.ts'
import { PAGE_POLICY, pageOf } from './page.ts'
import { prefersHtml } from './prefers-html.ts'

const DocsErrorBody = z.object({ error: z.object({ code: z.string(), message: z.string() }) })
const Document = z.looseObject({ openapi: z.string() }).meta({ description: 'This document' })

const JSON_TYPE = 'application/json; charset=utf-8'
const HTML_TYPE = 'text/html; charset=utf-8'
const FOR_EVER = 'public, max-age=31536000, immutable'

function errorBody({ code, message }: Failure) {
  return { error: { code: code === 'no_route' ? 'not_found' : code, message } }
}

function etagOf(text: string): string {
  return `"${createHash('sha256').update(text).digest('base64url')}"`
}

export interface DocsDeps {
  readonly title: string
  /** The OpenAPI document of every dialect; asked once, at the first request. */
  readonly describe: () => unknown
}

/** The document of all dialects and a page to browse it. Public: it tells what could be asked, never what there is. */
export function createDocsDialect({ title, describe }: DocsDeps): Dialect {
  const assets = createAssets()
  const version = assetVersion()
  const page = pageOf(title, `/api-docs/${version}`)
  let written: { readonly text: string; readonly etag: string } | undefined

  function document() {
    if (written === undefined) {
      const text = JSON.stringify(describe())
      written = { text, etag: etagOf(text) }
    }
    const headers = { Vary: 'Accept', 'Cache-Control': 'no-cache' }
    return { status: 200, body: written.text, etag: written.etag, headers } as const
  }

  const getDocument = raw({
    operation: 'getDocument',
    method: 'GET',
    path: '/api-docs/openapi.json',
    summary: 'The OpenAPI document of every dialect',
    access: 'public',
    status: 200,
    contentType: JSON_TYPE,
    result: Document,
    isCached: true,

    handle: document,
  })

  const browse = raw({
    operation: 'browse',
    method: 'GET',
    path: '/api-docs',
    summary: 'The OpenAPI document of every dialect, or for browsers a page to browse it',
    access: 'public',
    status: 200,
    contentType: JSON_TYPE,
    otherTypes: ['text/html'],
    result: Document,
    isCached: true,

    handle({ headers: { accept } }) {
      if (!prefersHtml(accept)) return document()
      const headers = {
        'Content-Type': HTML_TYPE,
        'Content-Security-Policy': PAGE_POLICY,
        'Cache-Control': 'no-cache',
        Vary: 'Accept',
      }
      return { status: 200, body: page, etag: etagOf(page), headers }
    },
  })

  const getAsset = raw({
    operation: 'getAsset',
    method: 'GET',
    path: '/api-docs/:version/:file',
    summary: "The page's scripts and styles",
    access: 'public',
    status: 200,
    contentType: 'application/octet-stream',
    otherTypes: ['text/css', 'text/javascript', 'image/png'],
    params: z.object({ version: z.string(), file: z.string() }),
    errors: [404],
    isCached: true,

    async handle({ params }) {
      const asset = params.version === version ? await assets(params.file) : undefined
      if (asset === undefined)
        throw new WireError(404, errorBody({ code: 'not_found', message: 'there is no such file' }))
      const headers = { 'Content-Type': asset.contentType, 'Cache-Control': FOR_EVER }
      return { status: 200, body: asset.bytes, etag: asset.etag, headers }
    },
  })

  return {
    name: 'docs',
    title: 'API documents',
    version: '1',
    description: 'This document, and the page that shows it.',
    owns: ['/api-docs'],
    statuses: COMMON_STATUSES,
    errorBody,
    errorSchema: DocsErrorBody,
    schemas: { Error: DocsErrorBody },
    routes: [browse, getDocument, getAsset],
  }
}
