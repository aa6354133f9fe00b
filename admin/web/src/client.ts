import { useQuery, type UseQueryResult } from '@tanstack/react-query';
import createClient from 'openapi-fetch';
import { ApiError, refused, withGuard } from './api';
import type { components, paths } from './gen/operator';

// The operator API by its own description: paths, parameters and bodies are checked by the
// compiler against what the relay serves (src/gen, written by make web from admin/describe).

export type Schemas = components['schemas'];

export const operator = createClient<paths>({ baseUrl: '', credentials: 'same-origin' });
operator.use({
  onRequest: ({ request }) => {
    withGuard(request.headers, request.method);
    return request;
  },
  onError: () => new ApiError(0, 'unreachable', 'The server cannot be reached.', ''),
});

interface Answer<T> {
  data?: { data: T } | undefined;
  error?: unknown;
  response: Response;
}

/** data is what an answer's envelope holds; a refusal is thrown. */
export async function data<T>(answer: Promise<Answer<T>>): Promise<T> {
  const { data: envelope, error, response } = await answer;
  if (envelope === undefined) throw refused(response, error as { code?: string; message?: string; request_id?: string } | undefined);
  return envelope.data;
}

/** useOperator reads one answer; key[0] is its path, by which changes have it read again. */
export function useOperator<T>(key: readonly [string, ...unknown[]], ask: (signal: AbortSignal) => Promise<Answer<T>>, every?: number): UseQueryResult<T> {
  return useQuery({ queryKey: key, queryFn: ({ signal }) => data(ask(signal)), placeholderData: (before) => before, ...(every ? { refetchInterval: every } : {}) });
}
