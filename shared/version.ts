/** Of both processes; equal to package.json's, which `test/tidy.test.ts` checks. */
export const VERSION = '0.1.0'
