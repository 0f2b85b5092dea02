/**
 * The browsable page. Nothing inline, so that the policy can forbid it: scripts and styles come from files beside it.
 * swagger-ui sets its few element styles through the DOM, which `style-src` does not concern.
 */
export const PAGE_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  // swagger-ui.css draws its arrows and ticks as data: images
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

/** `validatorUrl` null: the document is never shown to anybody else's server. */
export const START_SCRIPT = `SwaggerUIBundle({
  url: '/api-docs/openapi.json',
  dom_id: '#ui',
  deepLinking: true,
  docExpansion: 'list',
  defaultModelsExpandDepth: 0,
  filter: true,
  validatorUrl: null,
})
`

/** @param assets the path under which they are, without a slash at its end. */
export function pageOf(title: string, assets: string): string {
  return `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>${title}</title>
    <link rel="icon" type="image/png" href="${assets}/favicon-32x32.png">
    <link rel="stylesheet" href="${assets}/swagger-ui.css">
    <script src="${assets}/swagger-ui-bundle.js" defer></script>
    <script src="${assets}/start.js" defer></script>
  </head>
  <body><div id="ui"></div></body>
</html>
`
}
