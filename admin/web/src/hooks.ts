import { useMutation, useQuery, useQueryClient, type UseQueryResult } from '@tanstack/react-query';
import { notifications } from '@mantine/notifications';
import { useInfiniteQuery } from '@tanstack/react-query';
import { ApiError, get, type Page, type Query } from './api';

/** useGet reads one answer; a path of null is not asked. */
export function useGet<T>(path: string | null, query?: Query, options: { every?: number } = {}): UseQueryResult<T> {
  return useQuery({
    queryKey: [path, query ?? {}],
    queryFn: ({ signal }) => get<T>(path ?? '', query, signal),
    enabled: path !== null,
    placeholderData: (before) => before,
    ...(options.every ? { refetchInterval: options.every } : {}),
  });
}

/** usePages reads a list page by page. */
export function usePages<T>(path: string, query?: Query, options: { every?: number } = {}) {
  const pages = useInfiniteQuery({
    queryKey: [path, query ?? {}, 'pages'],
    queryFn: ({ pageParam, signal }) => get<Page<T>>(path, { ...query, cursor: pageParam }, signal),
    initialPageParam: '',
    getNextPageParam: (last) => last.next_cursor ?? undefined,
    placeholderData: (before) => before,
    ...(options.every ? { refetchInterval: options.every } : {}),
  });
  return { ...pages, rows: pages.data?.pages.flatMap((p) => p.items) ?? [] };
}

/** at is what the server says of one member of what was sent, or of what is inside it. */
export function at(error: unknown, ...names: string[]): string | null {
  if (!(error instanceof ApiError) || error.field === '') return null;
  return names.some((n) => error.field === n || error.field.startsWith(`${n}.`) || error.field.startsWith(`${n}[`)) ? error.message : null;
}

/**
 * useChange makes a change, says what happened, and has what it touched read again. A
 * refusal that is about one of fields is for the form to show beside it (at), any other
 * is shown by itself.
 */
export function useChange<In, Out>(change: (input: In) => Promise<Out>, touches: string[], done?: (out: Out, input: In) => string | null, fields: string[] = []) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: change,
    onSuccess: async (out, input) => {
      const text = done?.(out, input);
      if (text) notifications.show({ message: text, color: 'teal' });
      await client.invalidateQueries({ predicate: (q) => typeof q.queryKey[0] === 'string' && touches.some((path) => String(q.queryKey[0]).startsWith(path)) });
    },
    onError: (error) => {
      if (at(error, ...fields) === null) notifications.show({ message: error.message, color: 'red', autoClose: 8000 });
    },
  });
}
