import { useEffect } from 'react';
import { useTranslation } from 'react-i18next';
import { PublicShell } from '../components/publicShell';
import { useVisitor } from '../session';
import { ModelList } from './Models';

/** Pricing is the list of models and prices for everybody (S3-10, S4-8). */
export default function Pricing() {
  const { t } = useTranslation();
  const { site } = useVisitor();
  useEffect(() => {
    document.title = `${t('public.pricing')} · ${site.brand}`;
  }, [site.brand, t]);
  return (
    <PublicShell>
      <ModelList mine={false} title={t('public.pricing')} />
    </PublicShell>
  );
}
