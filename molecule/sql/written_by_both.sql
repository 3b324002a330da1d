-- The new application's post in the old schema.
SELECT audio_url, audio_filename FROM public.posts WHERE content = 'A post of the new application'
